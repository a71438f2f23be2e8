"""A real Prometheus scrapes a running service, and promtool finds nothing to complain about."""

import asyncio
import json
import socket
import subprocess
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from tests.interop.conftest import need
from tests.service.conftest import Running, eventually, running  # noqa: F401  the fixture

pytestmark = pytest.mark.interop
CALL = Path(__file__).parents[2] / "monitor/demo/call.mp4"
FILE = ("streams.0.id=demo", f"streams.0.url={CALL}", "streams.0.realtime=false", "streams.0.loop=true")


async def test_promtool_has_no_complaint(running: Running) -> None:  # noqa: F811
    promtool = need("promtool")
    async with running(*FILE) as (client, service):
        await eventually(lambda: service.live.incidents)
        exposition = await (await client.get("/metrics")).read()
    checked = await asyncio.to_thread(subprocess.run, [promtool, "check", "metrics"], input=exposition, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


async def test_prometheus_scrapes_with_a_token(running: Running, tmp_path: Path) -> None:  # noqa: F811
    prometheus = need("prometheus")
    async with running(*FILE, "server.token=sesame") as (client, _):
        port = free_port()
        target = {"static_configs": [{"targets": [f"127.0.0.1:{client.port}"]}], "job_name": "deepfake", "scrape_interval": "1s"}
        (tmp_path / "p.yml").write_text(json.dumps({"scrape_configs": [target | {"authorization": {"credentials": "sesame"}}]}))
        options = [
            f"--config.file={tmp_path / 'p.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        process = await asyncio.create_subprocess_exec(prometheus, *options, stderr=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(60), ClientSession() as session:
                assert await scraped(session, port, 'deepfake_stream_up{stream="demo"}') == "1"
                assert await scraped(session, port, 'deepfake_incidents_total{modality="video"}') == "1"
        finally:
            process.terminate()
            await process.wait()


async def scraped(session: ClientSession, port: int, query: str) -> str:
    """The value of the first sample, as soon as there is one that is not 0."""
    while True:
        try:
            async with session.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}) as response:
                samples = (await response.json())["data"]["result"] if response.status == 200 else []
        except ClientError:
            samples = []
        if samples and samples[0]["value"][1] != "0":
            return str(samples[0]["value"][1])
        await asyncio.sleep(0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])

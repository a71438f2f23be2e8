"""The page in a real Chromium: it shows what the service knows, and its buttons act."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from tests.interop.chromium import FLAGS
from tests.interop.conftest import need
from tests.service.conftest import Running, eventually, running  # noqa: F401  the fixture

pytestmark = pytest.mark.interop
CALL = Path(__file__).parents[2] / "monitor/demo/call.mp4"


class Tab:
    """One page, asked through Chromium's DevTools protocol; `complaints` are errors of its scripts."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.complaints: list[Any] = []
        self._socket = socket
        self._count = 0

    async def tell(self, method: str, **parameters: Any) -> Any:
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("method") == "Runtime.exceptionThrown" or message.get("params", {}).get("entry", {}).get("level") == "error":
                self.complaints.append(message["params"])
            if message.get("id") == self._count:
                return message["result"]

    async def run(self, script: str) -> Any:
        return (await self.tell("Runtime.evaluate", expression=script))["result"].get("value")

    async def text_until(self, *wanted: str) -> str:
        async with asyncio.timeout(30):
            while True:
                text = str(await self.run("document.body?.innerText"))
                if all(word in text for word in wanted):
                    return text
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def browsing() -> AsyncIterator[Tab]:
    program = need("chromium")
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        port_file = Path(profile, "DevToolsActivePort")
        flags = [*FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(program, *flags, stdout=quiet, stderr=quiet, start_new_session=True)
        try:
            await eventually(lambda: port_file.is_file() and port_file.read_text())
            port = port_file.read_text().split()[0]  # noqa: ASYNC240
            async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/json") as tabs:
                page = next(tab for tab in await tabs.json() if tab["type"] == "page")
                async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    tab = Tab(socket)
                    await tab.tell("Runtime.enable")
                    await tab.tell("Log.enable")
                    yield tab
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def test_the_page_shows_a_stream_its_incident_and_takes_an_acknowledgement(running: Running) -> None:  # noqa: F811
    configured = ("streams.0.id=lobby", f"streams.0.url={CALL}", "streams.1.id=gone", "streams.1.url=no-such-file.mp4")
    async with running(*configured) as (client, _), browsing() as tab:
        await tab.tell("Page.navigate", url=str(client.make_url("/")))
        await tab.text_until("lobby", "Fake\n", "Forged face", "1 open incident", "connected")
        await tab.text_until("Sound and picture have no common clock yet.", "no-such-file.mp4: no such file")
        assert await tab.run("document.querySelectorAll('.gauge[data-state=fake] .curve rect').length") > 0
        assert await tab.run("document.querySelector('.incident img').decode().then(() => 0), document.querySelector('.incident img').src")
        await tab.run("document.querySelector('.incident button').click()")
        await tab.text_until("✓ seen at")
        assert tab.complaints == []


async def test_a_visitor_without_the_token_is_asked_for_it(running: Running) -> None:  # noqa: F811
    async with running("server.token=sesame") as (client, _), browsing() as tab:
        await tab.tell("Page.navigate", url=str(client.make_url("/")))
        await tab.text_until("Token")
        await tab.run("document.querySelector('input').value = 'simsalabim'; document.querySelector('form').submit()")
        await tab.text_until("This is not the token.")
        await tab.run("document.querySelector('input').value = 'sesame'; document.querySelector('form').submit()")
        await tab.text_until("Nothing is being watched yet", "connected")

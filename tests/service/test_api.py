"""The API over a real connection, on the demo call, with an engine that calls every face forged."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from monitor.service.app import Service
from tests.service.conftest import Running, eventually

CALL = Path(__file__).parents[2] / "monitor/demo/call.mp4"
DEMO = ("streams.0.id=demo", f"streams.0.url={CALL}", "streams.0.realtime=false")


async def ended(service: Service, stream: str = "demo") -> None:
    await eventually(lambda: service.live.streams[stream].state.state in {"ended", "failed"})


async def events(response: ClientResponse) -> Any:
    """(event name, parsed data) of a server-sent event stream."""
    kind = ""
    async for line in response.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


async def test_a_file_is_watched_to_its_end_and_everything_says_so(running: Running) -> None:
    async with running(*DEMO) as (client, service):
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).status == 200
        await ended(service)
        (stream,) = (await (await client.get("/api/v1/streams")).json())["streams"]
        assert (stream["id"], stream["kind"], stream["state"], stream["truth"]) == ("demo", "file", "ended", None)
        assert {bar["modality"] for bar in stream["history"]} == {"audio", "video", "sync"}
        (incident,) = (await (await client.get("/api/v1/incidents")).json())["incidents"]
        assert (incident["modality"], incident["state"], incident["since_s"]) == ("video", "closed", 0.0)
        exposition = await (await client.get("/metrics")).text()
        assert 'deepfake_incidents_total{modality="video",stream="demo"} 1.0' in exposition
        assert 'deepfake_incidents_open{modality="video",stream="demo"} 0.0' in exposition
        assert 'deepfake_stream_up{stream="demo"} 0.0' in exposition
        assert 'deepfake_streams{state="ended"} 1.0' in exposition
        assert 'deepfake_inference_fallback_total{got="CPUExecutionProvider",wanted="CUDAExecutionProvider"} 1.0' in exposition


async def test_an_incident_can_be_seen_and_acknowledged(running: Running) -> None:
    async with running(*DEMO) as (client, service):
        await ended(service)
        (incident,) = (await (await client.get("/api/v1/incidents")).json())["incidents"]
        assert incident["acknowledged"] is None
        picture = await client.get(incident["heatmap"])
        assert (await picture.read()).startswith(b"\x89PNG")
        first = await (await client.post(f"/api/v1/incidents/{incident['incident_id']}/ack")).json()
        again = await (await client.post(f"/api/v1/incidents/{incident['incident_id']}/ack")).json()
        assert first["acknowledged"] == again["acknowledged"] is not None
        assert (await client.post("/api/v1/incidents/none/ack")).status == 404
        assert (await client.get("/api/v1/incidents/none/heatmap.png")).status == 404


async def test_events_arrive_as_they_happen(running: Running) -> None:
    async with running("streams.0.id=demo", f"streams.0.url={CALL}") as (client, service):
        seen: dict[str, Any] = {}
        response = await client.get("/api/v1/events")
        async for kind, data in events(response):
            seen.setdefault(kind, data)
            if kind == "incident":
                break
        assert len(service.live.watchers) == 1
        assert seen["verdict"]["stream"] == "demo"
        assert seen["verdict"]["verdict"]["threshold"] == 0.8
        assert seen["alert"]["kind"] == "opened"
        assert seen["alert"]["decision_latency_ms"] is not None
        assert seen["incident"]["incident_id"] == seen["alert"]["incident_id"]


async def test_a_source_that_cannot_be_read_fails_alone(running: Running, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"this is no film")
    more = ("streams.1.id=broken", f"streams.1.url={tmp_path / 'broken.mp4'}")
    async with running(*DEMO, *more) as (client, service):
        await ended(service, "broken")
        await ended(service, "demo")
        states = {stream["id"]: stream for stream in (await (await client.get("/api/v1/streams")).json())["streams"]}
        assert states["broken"]["state"] == "failed"
        assert "broken.mp4" in states["broken"]["reason"]
        assert states["demo"]["state"] == "ended"
        assert (await client.get("/readyz")).status == 200


async def test_the_page_and_its_parts_are_there(running: Running) -> None:
    async with running() as (client, _):
        page = await client.get("/")
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert "<script" in await page.text()
        for part in ("page.css", "page.js", "curve.js", "icon.svg"):
            assert (await client.get(f"/static/{part}")).status == 200
        assert (await client.get("/no-such-page")).status == 404


@pytest.mark.parametrize("path", ["/", "/api/v1/streams", "/api/v1/incidents", "/api/v1/events", "/metrics"])
async def test_with_a_token_nothing_is_told_without_it(path: str, running: Running) -> None:
    async with running("server.token=sesame") as (client, _):
        refused = await client.get(path, allow_redirects=False)
        assert (refused.status, refused.headers.get("Location")) == ((303, "/login") if path == "/" else (401, None))
        wrong = await client.get(path, headers={"Authorization": "Bearer simsalabim"}, allow_redirects=False)
        assert wrong.status == refused.status
        assert (await client.get(path, headers={"Authorization": "Bearer sesame"})).status == 200
        assert (await client.get(f"{path}?token=sesame", allow_redirects=False)).status == refused.status
        assert (await client.get("/healthz")).status == 200


async def test_the_page_asks_for_the_token_and_remembers_it_in_a_cookie(running: Running) -> None:
    async with running("server.token=sesame") as (client, _):
        assert (await client.post("/login", data={"token": "simsalabim"})).status == 401
        entered = await client.post("/login", data={"token": "sesame"}, allow_redirects=False)
        assert entered.status == 303
        assert "HttpOnly" in entered.headers["Set-Cookie"]
        assert "SameSite=Strict" in entered.headers["Set-Cookie"]
        assert (await client.get("/api/v1/streams")).status == 200
        whip = await client.post("/whip/a", data="v=0", headers={"Content-Type": "application/sdp"})
        assert whip.status == 401  # WHIP wants Bearer, whatever the page's cookie says


async def test_other_sites_cannot_act_through_a_visitors_browser(running: Running) -> None:
    async with running() as (client, _):
        assert (await client.post("/api/v1/incidents/x/ack", headers={"Origin": "https://elsewhere.example"})).status == 403
        assert (await client.get("/api/v1/streams", headers={"Host": "rebound.example"})).status == 403

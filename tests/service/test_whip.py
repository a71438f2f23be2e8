"""WHIP as RFC 9725 says it, with aiortc as the publisher."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from monitor.service.app import Service
from tests.service.conftest import Running, eventually

SDP = {"Content-Type": "application/sdp"}
NO_MEDIA = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


@asynccontextmanager
async def publisher() -> AsyncIterator[tuple[RTCPeerConnection, str]]:
    peer = RTCPeerConnection()
    peer.addTrack(AudioStreamTrack())
    peer.addTrack(VideoStreamTrack())
    try:
        await peer.setLocalDescription(await peer.createOffer())
        yield peer, peer.localDescription.sdp
    finally:
        await peer.close()


async def post(client: TestClient, offer: str, stream: str = "guest", **headers: str) -> ClientResponse:
    return await client.post(f"/whip/{stream}", data=offer, headers={**SDP, **headers})


async def reaches(service: Service, stream: str, state: str) -> None:
    await eventually(lambda: service.live.streams[stream].state.state == state)


async def test_a_publisher_is_watched_until_it_says_goodbye(running: Running) -> None:
    async with running() as (client, service), publisher() as (peer, offer):
        answer = await post(client, offer)
        assert (answer.status, answer.content_type) == (201, "application/sdp")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        await peer.setRemoteDescription(RTCSessionDescription(await answer.text(), "answer"))
        session = answer.headers["Location"]
        assert session.startswith("/whip/guest/")
        await reaches(service, "guest", "live")
        assert (await post(client, offer)).status == 409
        await eventually(lambda: service.live.incidents)
        assert (await client.delete("/whip/guest/guessed")).status == 404
        assert (await client.patch(session, data="")).status == 405
        assert (await client.delete(session)).status == 200
        assert service.live.streams["guest"].state.state == "ended"
        assert next(iter(service.live.incidents.values())).closed
        assert (await client.delete(session)).status == 404
        assert not service.watches("guest")


async def test_when_the_service_stops_publishers_are_told(running: Running) -> None:
    async with publisher() as (peer, offer):
        async with running() as (client, service):
            answer = await post(client, offer)
            await peer.setRemoteDescription(RTCSessionDescription(await answer.text(), "answer"))
            await reaches(service, "guest", "live")
        assert service.live.streams["guest"].state.state == "ended"


@pytest.mark.parametrize(
    ("offer", "headers", "status", "why"),
    [
        ("hello", {}, 400, "no SDP"),
        ("", {}, 400, "no SDP"),
        (NO_MEDIA, {}, 406, ""),
        (NO_MEDIA + "m=video 9 UDP/TLS/RTP/SAVPF 99\r\na=rtpmap:99 XYZ/90000\r\n", {}, 406, ""),
        ("v=0\r\n" + "a=x\r\n" * 20_000, {}, 413, "65536"),
        (NO_MEDIA, {"Content-Type": "text/plain"}, 415, "application/sdp"),
    ],
)
async def test_a_bad_offer_is_refused_in_one_line(offer: str, headers: dict[str, str], status: int, why: str, running: Running) -> None:
    async with running() as (client, service):
        refused = await post(client, offer, **headers)
        text = await refused.text()
        assert (refused.status, text.count("\n")) == (status, 1)
        assert why in text
        assert refused.headers["Access-Control-Allow-Origin"] == "*"
        assert not service.live.streams


async def test_a_stream_id_is_checked_and_configured_ones_are_taken(running: Running) -> None:
    async with running("streams.0.id=cam", "streams.0.url=rtsp://127.0.0.1:9/x") as (client, _):
        assert (await post(client, NO_MEDIA, "a%20b")).status == 400
        assert (await post(client, NO_MEDIA, "cam")).status == 409


async def test_one_publisher_too_many_and_too_many_offers(running: Running) -> None:
    async with running("server.max_sessions=1") as (client, _), publisher() as (_, offer):
        assert (await post(client, offer, "one")).status == 201
        full = await post(client, offer, "two")
        assert (full.status, full.headers["Retry-After"]) == (503, "30")
    async with running("server.max_sessions=1") as (client, _):
        assert [(await post(client, NO_MEDIA)).status for _ in range(3)] == [406, 406, 429]


async def test_bearer_on_every_verb_but_the_preflight(running: Running) -> None:
    async with running("server.token=sesame") as (client, _), publisher() as (_, offer):
        bearer = {"Authorization": "Bearer sesame"}
        refused = await post(client, offer)
        assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, "*")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        session = (await post(client, offer, **bearer)).headers["Location"]
        assert (await client.delete(session)).status == 401
        assert (await client.delete(session, headers=bearer)).status == 200
        for path in ("/whip/guest", session):
            preflight = await client.options(path, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"})
            assert preflight.status == 204
            assert "DELETE" in preflight.headers["Access-Control-Allow-Methods"]
            assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]

"""WHIP as RFC 9725 says it, with aiortc as the publisher."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from monitor import config_file
from monitor.errors import ConfigError
from monitor.service.app import Service
from monitor.service.origins import ice_links
from monitor.sources.sdpfrag import parse_fragment
from tests.service.conftest import Running, eventually

FRAGMENT = "application/trickle-ice-sdpfrag"
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
        answer = await post(client, offer, "guest?participant=Guest")
        assert (answer.status, answer.content_type) == (201, "application/sdp")
        await peer.setRemoteDescription(RTCSessionDescription(await answer.text(), "answer"))
        session = answer.headers["Location"]
        assert session.startswith("/whip/guest/")
        await reaches(service, "guest", "live")
        assert (await post(client, offer)).status == 409
        await eventually(lambda: service.live.incidents)
        assert next(iter(service.live.incidents.values())).json()["participant"] == "Guest"
        assert (await client.delete("/whip/guest/guessed")).status == 404
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
        refused = await post(client, offer, Origin="https://a.example")
        assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, "https://a.example")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        session = (await post(client, offer, **bearer)).headers["Location"]
        assert (await client.delete(session)).status == 401
        assert (await client.patch(session, data="")).status == 401
        assert (await client.delete(session, headers=bearer)).status == 200
        for path in ("/whip/guest", session):
            preflight = await client.options(path, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"})
            assert preflight.status == 204
            assert {"POST", "PATCH", "DELETE"} <= set(preflight.headers["Access-Control-Allow-Methods"].split(", "))
            assert {"Authorization", "If-Match"} <= set(preflight.headers["Access-Control-Allow-Headers"].split(", "))
            assert preflight.headers["Accept-Patch"] == FRAGMENT


async def patch(client: TestClient, session: str, fragment: str, etag: str | None) -> ClientResponse:
    return await client.patch(session, data=fragment, headers={"Content-Type": FRAGMENT} | ({"If-Match": etag} if etag else {}))


async def test_candidates_may_come_after_the_offer(running: Running) -> None:
    async with running() as (client, service), publisher() as (peer, offer):
        lines = offer.splitlines()
        later = [line for line in lines if line.startswith("a=candidate")]
        bare = [line for line in lines if line not in later and line != "a=end-of-candidates"]
        answer = await post(client, "\r\n".join(bare) + "\r\n")
        assert answer.headers["Accept-Patch"] == FRAGMENT
        session, etag = answer.headers["Location"], answer.headers["ETag"]
        await peer.setRemoteDescription(RTCSessionDescription(await answer.text(), "answer"))
        fragment = "\r\n".join(["m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", *later, "a=end-of-candidates"])
        taken = await patch(client, session, fragment, etag)
        assert (taken.status, taken.headers["ETag"]) == (204, etag)
        await reaches(service, "guest", "live")


async def test_what_a_patch_must_be(running: Running) -> None:
    async with running() as (client, _), publisher() as (_, offer):
        answer = await post(client, offer)
        session, etag = answer.headers["Location"], answer.headers["ETag"]
        assert (await patch(client, session, "a=mid:0", None)).status == 428
        assert (await patch(client, session, "a=mid:0", '"other"')).status == 412
        assert (await patch(client, session, "hello", etag)).status == 400
        assert (await patch(client, session, "a=candidate:1 1 udp", etag)).status == 422
        assert (await patch(client, session, "a=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901", etag)).status == 412
        assert (await patch(client, session + "x", "a=mid:0", etag)).status == 404
        plain = await client.patch(session, data="a=mid:0", headers={"If-Match": etag, "Content-Type": "text/plain"})
        assert (plain.status, plain.headers["Accept-Patch"]) == (415, FRAGMENT)
        statuses = [(await patch(client, session, "a=mid:0", etag)).status for _ in range(70)]
        assert (statuses[0], statuses[-1]) == (204, 429)
        for verb in ("GET", "HEAD", "PUT"):  # reserved by RFC 9725
            assert {(await client.request(verb, path)).status for path in (session, "/whip/guest")} == {405}
        assert (await client.post(session)).status == 405


async def test_a_restart_gets_our_side_and_a_new_etag(running: Running) -> None:
    async with running() as (client, _), publisher() as (_, offer):
        answer = await post(client, offer)
        session, etag = answer.headers["Location"], answer.headers["ETag"]
        restarted = await patch(client, session, "a=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\na=mid:0", "*")
        assert (restarted.status, restarted.content_type) == (200, FRAGMENT)
        ours = parse_fragment(await restarted.text())
        assert ours.ufrag
        assert ours.candidates
        assert ours.complete
        assert ours.ufrag not in await answer.text()
        assert restarted.headers["ETag"] != etag
        assert (await patch(client, session, "a=mid:0", etag)).status == 412
        assert (await patch(client, session, "a=mid:0", restarted.headers["ETag"])).status == 204


@pytest.mark.parametrize(
    ("overrides", "origin", "status"),
    [
        ((), "https://elsewhere.example", 403),
        ((), "null", 403),
        ((), "https://[", 403),
        ((), "http://localhost:3000", 400),
        (("server.token=sesame",), "https://elsewhere.example", 400),
        (("server.allowed_origins=[https://meet.example]",), "https://meet.example", 400),
        (("server.allowed_origins=[https://meet.example]",), "http://localhost:3000", 403),
        (("server.token=sesame", "server.allowed_origins=[https://meet.example]"), "https://elsewhere.example", 403),
    ],
)
async def test_which_pages_may_publish(overrides: tuple[str, ...], origin: str, status: int, running: Running) -> None:
    async with running(*overrides) as (client, _):
        bearer = {"Authorization": "Bearer sesame"}
        answer = await post(client, "hello", Origin=origin, **bearer)
        assert (answer.status, answer.headers.get("Access-Control-Allow-Origin")) == (status, None if status == 403 else origin)
        assert (await client.options("/whip/guest", headers={"Origin": origin})).status == (403 if status == 403 else 204)
        assert (await post(client, "hello", **bearer)).status == 400


async def test_publishers_are_told_the_ice_servers(running: Running, tmp_path: Path) -> None:
    (tmp_path / "turn").write_text('pass"word\n')
    servers = (
        "server.ice_servers.0.url=stun:127.0.0.1:9",
        "server.ice_servers.1.url=turn:127.0.0.1:9",
        "server.ice_servers.1.username=monitor",
        f"server.ice_servers.1.credential_file={tmp_path}/turn",
    )
    service = Service(config_file.load(None, servers))
    assert ice_links(service.config.server) == [
        '<stun:127.0.0.1:9>; rel="ice-server"',
        '<turn:127.0.0.1:9>; rel="ice-server"; username="monitor"; credential="pass\\"word"; credential-type="password"',
    ]
    with pytest.raises(ConfigError, match="needs username and credential_file"):
        config_file.load(None, ["server.ice_servers.0.url=turn:127.0.0.1:9"])
    async with running("server.ice_servers.0.url=stun:127.0.0.1:9") as (client, _), publisher() as (_, offer):
        answer = await post(client, offer)
        assert (answer.status, answer.headers["Link"]) == (201, '<stun:127.0.0.1:9>; rel="ice-server"')


async def test_several_participants_of_one_room_are_streams_of_their_own(running: Running) -> None:
    async with running() as (client, service), publisher() as (_, one), publisher() as (_, other):
        assert (await post(client, one, "standup.alice?participant=Alice%20A.")).status == 201
        assert (await post(client, other, "standup.bob")).status == 201
        assert set(service.live.streams) == {"standup.alice", "standup.bob"}
        assert service.records.participants == {"standup.alice": "Alice A."}
        assert (await post(client, other, "standup.carol?participant=%0A")).status == 400

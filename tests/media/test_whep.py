"""WHEP: we watch a media server, here a few lines around an aiortc publisher that passes the same contract."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription

from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, VideoFrame
from monitor.sources import open_stream
from monitor.sources.whep import WhepSource
from tests.media.publisher import Camera, Listener, Microphone, publishing

LOCALHOST = Ingest(allow_hosts=("localhost",), open_timeout_s=20.0)
HERE = Ingest(allow_hosts=("localhost", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"), open_timeout_s=20.0)
"""With the addresses that this machine may have, which the server's candidates name."""


@dataclass
class MediaServer:
    """Answers POST /live/whep as draft-ietf-wish-whep asks; `requests` remembers method, path and Bearer."""

    address: str = ""
    status: int = 201
    location: str = "/live/whep/session-1"
    extra_candidate: str = ""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    peers: list[RTCPeerConnection] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path, request.headers.get("Authorization")))
        if request.method == "DELETE":
            return web.Response()
        if self.status != 201:
            return web.Response(status=self.status, headers={"Location": "http://127.0.0.1:9/elsewhere"})
        start_s = asyncio.get_running_loop().time() + 0.2
        peer = publishing(Microphone(start_s), Camera(start_s))
        self.peers.append(peer)
        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        sdp = peer.localDescription.sdp
        if self.extra_candidate:
            lines = [line for line in sdp.splitlines() if not line.startswith("a=candidate")]
            sdp = "\r\n".join([*lines, self.extra_candidate, ""])
        return web.Response(status=201, text=sdp, content_type="application/sdp", headers={"Location": self.location})


@pytest.fixture
async def server() -> AsyncIterator[MediaServer]:
    media = MediaServer()
    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", media.serve)])
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    media.address = f"http://127.0.0.1:{runner.addresses[0][1]}/live/whep"
    yield media
    for peer in media.peers:
        await peer.close()
    await runner.cleanup()


async def test_a_media_server_is_watched_and_told_when_we_leave(server, tmp_path):
    (tmp_path / "token").write_text("sesame\n")
    stream = Stream.model_validate({"id": "live", "url": server.address, "token_file": "token"}, context={"base_dir": tmp_path})
    source = open_stream(stream, HERE)
    assert isinstance(source, WhepSource)
    listener = Listener(source)
    await listener.until(lambda: len(listener.of(AudioChunk)) >= 10 and len(listener.of(VideoFrame)) >= 10)
    assert listener.of(MediaInfo)[0] == MediaInfo(True, True, "arrival")
    listener.running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listener.end()
    assert server.requests == [("POST", "/live/whep", "Bearer sesame"), ("DELETE", "/live/whep/session-1", "Bearer sesame")]


async def test_the_end_of_the_media_is_the_end(server):
    listener = Listener(WhepSource(server.address, None, HERE))
    await listener.until(lambda: len(listener.of(AudioChunk)) >= 5)
    await server.peers[0].close()
    await listener.end()


async def refused(server: MediaServer, ingest: Ingest = HERE, url: str | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await Listener(WhepSource(url or server.address, None, ingest)).end()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("status", "why", "retryable"),
    [
        (302, "redirects", False),
        (307, "redirects", False),
        (401, "token_file", False),
        (404, "no such stream", True),
        (409, "409", True),
        (405, "405", False),
        (503, "503", True),
        (200, "200", False),
    ],
)
async def test_what_a_server_may_answer(server, status, why, retryable):
    server.status = status
    error = await refused(server)
    assert why in str(error)
    assert error.retryable == retryable
    assert [method for method, _, _ in server.requests] == ["POST"]


async def test_a_server_within_is_refused_unless_the_configuration_opens_it(server):
    error = await refused(server, Ingest())
    assert "ingest.allow_hosts" in str(error)
    assert server.requests == []


async def test_nobody_there_is_worth_another_try(server):
    error = await refused(server, url="http://127.0.0.1:1/whep")
    assert error.retryable


async def test_a_session_elsewhere_is_not_asked_for(server):
    server.location = "http://127.0.0.1:9/session"
    listener = Listener(WhepSource(server.address, None, HERE))
    await listener.until(lambda: len(listener.of(AudioChunk)) >= 3)
    await server.peers[0].close()
    await listener.end()
    assert [method for method, _, _ in server.requests] == ["POST"]


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.7", "inside.local"])
async def test_media_may_not_come_from_where_urls_may_not_lead(server, address):
    server.extra_candidate = f"a=candidate:1 1 udp 2130706431 {address} 5000 typ host"
    error = await refused(server, LOCALHOST)
    assert f"{address}, which ingest.allow_hosts does not open" in str(error)


async def test_an_answer_that_is_too_long_or_no_sdp_is_refused(server):
    assert "max_sdp_bytes" in str(await refused(server, Ingest(allow_hosts=("localhost",), max_sdp_bytes=1024)))

"""The relay on loopback: everything goes to the pinned address, with the host's own name, and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.sources.livekit import LiveKitSource
from monitor.sources.relay import relay_to
from tests.media.publisher import Listener

HERE = Ingest(allow_hosts=("localhost",), open_timeout_s=1.0, read_timeout_s=5.0)


class Server:
    """Echoes what it is sent; keeps who asked for what: (path and query, Host, Authorization)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.raw_path, request.headers["Host"], request.headers.get("Authorization")))
        if request.path.endswith("/elsewhere"):
            raise web.HTTPFound("http://127.0.0.2:9/")
        if "/refused" in request.path:
            return web.Response(status=401, text="no token")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await (socket.send_bytes(message.data) if message.type is aiohttp.WSMsgType.BINARY else socket.send_str(message.data))
        return socket


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, int]]:
    server, app = Server(), web.Application()
    app.router.add_get("/{any:.*}", server.answer)
    async with TestServer(app, host="127.0.0.1") as listening:
        yield server, listening.port or 0


async def test_talk_goes_both_ways_and_lasts():
    async with (
        serving() as (server, port),
        relay_to(f"ws://localhost:{port}/base", HERE) as url,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/rtc?sdk=a%20b", headers={"Authorization": "Bearer t"}) as talking,
    ):
        assert url.startswith("ws://127.0.0.1:")
        await talking.send_bytes(b"\x00\x01")
        assert await talking.receive_bytes() == b"\x00\x01"
        await asyncio.sleep(HERE.open_timeout_s + 0.3)
        await talking.send_str("still there")
        assert await talking.receive_str() == "still there"
        assert server.asked == [("/base/rtc?sdk=a%20b", f"localhost:{port}", "Bearer t")]


async def test_redirects_and_refusals():
    async with serving() as (server, port), relay_to(f"ws://localhost:{port}", HERE) as url, aiohttp.ClientSession() as session:
        for target, status in (("elsewhere", 502), ("refused", 401)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(f"{url}{target}")
            assert caught.value.status == status
            async with session.get(f"{url.replace('ws', 'http', 1)}{target}", allow_redirects=False) as plain:
                assert plain.status == status
        assert len(server.asked) == 4
        guessed = url.replace("ws", "http", 1).rsplit("/", 2)[0]
        async with session.get(f"{guessed}/secret/refused") as stranger:
            assert stranger.status == 404
        assert len(server.asked) == 4


async def test_a_server_that_is_gone_or_not_allowed():
    async with serving() as (_, port):
        pass
    async with relay_to(f"ws://localhost:{port}", HERE) as url, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(url)
        assert caught.value.status == 502
    with pytest.raises(SourceError, match=r"ingest\.allow_hosts"):
        async with relay_to("ws://localhost:7880", Ingest()):
            pass


async def test_livekits_sdk_comes_through_the_relay():
    pytest.importorskip("livekit.rtc", reason="the extra livekit is not installed")
    async with serving() as (server, port):
        with pytest.raises(SourceError, match="are url and token right"):
            await Listener(LiveKitSource(f"ws://localhost:{port}/refused", "alice", "token", HERE)).end()
    assert server.asked
    assert all(host == f"localhost:{port}" for _, host, _ in server.asked)
    assert all(path.startswith("/refused") for path, *_ in server.asked)

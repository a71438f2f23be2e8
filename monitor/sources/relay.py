"""A way out for a program that looks names up by itself: WebSocket and HTTP on loopback, passed on to a pinned address alone.

The program is given an address on loopback in the place of the real one, so it neither sees a name nor can be sent elsewhere by a
redirect. TLS is spoken here, with the host's name for SNI and certificate.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.sources.pinned_http import MOST_MESSAGE_BYTES, Client, connected

LOOPBACK = "127.0.0.1"
PASSED_ON = ("Authorization", "User-Agent", "Sec-WebSocket-Protocol")


@asynccontextmanager
async def relay_to(url: str, ingest: Ingest) -> AsyncIterator[str]:
    """`url`: ws(s)://…; gives the ws:// address to be used instead, which nobody can guess. Raises SourceError."""
    async with connected(url.replace("ws", "http", 1), ingest) as (client, pinned):
        secret = secrets.token_urlsafe(16)
        app = web.Application()
        app.router.add_get(f"/{secret}{{target:/.*}}", _Relay(client).pass_on)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, 0).start()
            yield f"ws://{LOOPBACK}:{runner.addresses[0][1]}/{secret}{pinned.target}"
        finally:
            await runner.cleanup()


class _Relay:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        target = request.raw_path[request.raw_path.index("/", 1) :]
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        try:
            if not web.WebSocketResponse().can_prepare(request).ok:
                answer = await self._client.ask("GET", target, headers)
                return web.Response(status=answer.status, text=answer.text)
            async with self._client.talk(target, headers) as outside:
                inside = web.WebSocketResponse(max_msg_size=MOST_MESSAGE_BYTES, autoping=False)
                await inside.prepare(request)
                await _both_ways(inside, outside)
                return inside
        except aiohttp.WSServerHandshakeError as refused:
            return web.Response(status=refused.status)
        except SourceError as error:
            return web.Response(status=502, text=str(error))


async def _both_ways(inside: web.WebSocketResponse, outside: aiohttp.ClientWebSocketResponse) -> None:
    """Until one side closes."""
    pumps = [asyncio.create_task(_pump(inside, outside)), asyncio.create_task(_pump(outside, inside))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for side in (inside, outside):
            await side.close()


Side = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pump(source: Side, sink: Side) -> None:
    async for message in source:
        match message.type:
            case aiohttp.WSMsgType.BINARY:
                await sink.send_bytes(message.data)
            case aiohttp.WSMsgType.TEXT:
                await sink.send_str(message.data)
            case aiohttp.WSMsgType.PING:
                await sink.ping(message.data)
            case aiohttp.WSMsgType.PONG:
                await sink.pong(message.data)
            case _:
                return

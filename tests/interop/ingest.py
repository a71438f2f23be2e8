"""A WHIP endpoint of a few lines, for tests of the source without the service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from monitor.channel import Channel
from monitor.media import MediaItem, VideoFrame
from monitor.sources import feed
from monitor.sources.webrtc import WebRtcSource


class Ingest:
    """A WHIP endpoint of a few lines around one WebRtcSource."""

    def __init__(self) -> None:
        self.items: list[MediaItem] = []
        self.running: asyncio.Task[None] | None = None

    async def post(self, request: web.Request) -> web.Response:
        source = WebRtcSource()
        answer = await source.answer(await request.text())
        channel: Channel[MediaItem] = Channel(64, "drop_oldest", lambda item: isinstance(item, VideoFrame))
        self.running = asyncio.create_task(self._run(source, channel))
        headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "Content-Type"}
        return web.Response(status=201, text=answer, content_type="application/sdp", headers=headers)

    async def options(self, request: web.Request) -> web.Response:
        return web.Response(headers={"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "Content-Type"})

    async def _run(self, source: WebRtcSource, channel: Channel[MediaItem]) -> None:
        reading = asyncio.create_task(self._read(channel))
        try:
            await feed(source, channel)
        finally:
            await reading

    async def _read(self, channel: Channel[MediaItem]) -> None:
        async for item in channel:
            self.items.append(item)

    def of(self, kind: type, since: int = 0) -> list:
        return [item for item in self.items[since:] if isinstance(item, kind)]


@contextlib.asynccontextmanager
async def ingesting() -> AsyncIterator[tuple[Ingest, str]]:
    ingest = Ingest()
    app = web.Application()
    app.add_routes([web.post("/whip/call", ingest.post), web.options("/whip/call", ingest.options)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    try:
        yield ingest, f"http://{host}:{port}/whip/call"
    finally:
        if ingest.running is not None:
            ingest.running.cancel()
            await asyncio.gather(ingest.running, return_exceptions=True)
        await runner.cleanup()

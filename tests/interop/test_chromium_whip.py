"""A real browser publishes camera and microphone: first into WebRtcSource alone, then into the running service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from monitor.channel import Channel
from monitor.media import AudioChunk, MediaInfo, MediaItem, VideoFrame
from monitor.sources.webrtc import WebRtcSource
from tests.interop.chromium import Browser, camera_and_microphone, publishing
from tests.interop.conftest import need
from tests.synth import picture_events_s, sound_events_s


@pytest.fixture(scope="session")
def chromium() -> str:
    return need("chromium")


@pytest.fixture(scope="session")
def devices(tmp_path_factory) -> tuple[Path, Path]:
    return camera_and_microphone(tmp_path_factory.mktemp("devices"))


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
            await source.run(channel)
        finally:
            channel.close()
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


async def until(condition, browser: Browser, seconds: float = 40) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.1)
                assert not browser.has("failed"), browser.told
    except TimeoutError:
        pytest.fail(f"waited {seconds} s in vain; the page told {browser.told}")


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_camera_and_microphone_arrive_and_the_size_may_change(chromium, devices, codec):
    async with (
        ingesting() as (ingest, whip),
        publishing(chromium, *devices, whip=whip, codec=codec, change_after_s=4, end_after_s=3) as browser,
    ):
        await until(lambda: len(ingest.of(VideoFrame)) > 20, browser)
        first = ingest.of(VideoFrame)[0].rgb.shape
        await until(lambda: browser.has("ended"), browser)
        await asyncio.wait_for(ingest.running, 10)
    sizes = [frame.rgb.shape for frame in ingest.of(VideoFrame)]
    assert first[0] > 90
    assert sizes[-1][0] < max(size[0] for size in sizes)
    infos = ingest.of(MediaInfo)
    assert infos[0] == MediaInfo(True, True, "arrival")
    assert infos[-1] == MediaInfo(True, True, "sender_report")
    assert len(sound_events_s(ingest.of(AudioChunk))) >= 3
    assert len(picture_events_s(ingest.of(VideoFrame))) >= 3
    heard_s = sum(len(chunk.samples) for chunk in ingest.of(AudioChunk)) / 16_000
    print(codec, sorted({size[:2] for size in sizes}), len(sizes), round(heard_s, 2), browser.told)


async def test_what_happens_at_once_in_the_page_has_one_time_here(chromium, devices):
    async with ingesting() as (ingest, whip), publishing(chromium, *devices, whip=whip, source="drawn") as browser:
        await until(lambda: len(ingest.of(MediaInfo)) >= 2, browser)
        since = len(ingest.items)
        await until(lambda: len(sound_events_s(ingest.of(AudioChunk, since))) >= 6, browser)
    seen, heard = picture_events_s(ingest.of(VideoFrame, since)), sound_events_s(ingest.of(AudioChunk, since))
    offsets = [min(seen, key=lambda s: abs(s - moment)) - moment for moment in heard[1:-1]]
    print("seen minus heard", np.round(offsets, 3))
    assert abs(np.median(offsets)) < 0.1


async def test_a_killed_browser_ends_with_a_retryable_error_or_goodbye(chromium, devices):
    async with ingesting() as (ingest, whip):
        async with publishing(chromium, *devices, whip=whip) as browser:
            await until(lambda: len(ingest.of(VideoFrame)) > 5, browser)
        done, _ = await asyncio.wait([ingest.running], timeout=15)
        assert done
        print(repr(ingest.running.exception()))

"""A real browser publishes camera and microphone: first into WebRtcSource alone, then into the running service."""

import asyncio

import numpy as np
import pytest

from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, VideoFrame
from tests.interop.chromium import Browser, publishing, until
from tests.interop.ingest import Ingest, ingesting
from tests.synth import picture_events_s, sound_events_s


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


@pytest.mark.parametrize(
    ("told", "when"),
    [
        ({"codec": "VP8"}, None),
        ({"codec": "H264"}, None),
        ({"dtx": 1}, None),
        ({"mute_after_s": 5}, "microphone on"),
        ({"off_after_s": 5}, "camera on"),
    ],
)
async def test_what_happens_at_once_in_the_page_has_one_time_here(chromium, devices, told, when):
    """Also after the microphone or the camera was off, and when nothing is sent in silence.

    Where a busy machine stops the browser's sound for a moment, the browser sends it late from then on and does not tell so in its sender
    reports (seen by stopping its audio process for .35 s): hence some pages.
    """
    found = []
    for _ in range(4):
        async with ingesting() as (ingest, whip), publishing(chromium, *devices, whip=whip, source="drawn", **told) as browser:
            await until(lambda ingest=ingest: len(ingest.of(MediaInfo)) >= 2, browser)
            await until(lambda browser=browser: when is None or browser.has(when), browser)
            await asyncio.sleep(1)
            found.append(await seen_minus_heard_s(ingest, browser))
            print("seen minus heard", told, found[-1])
        if abs(np.median(found[-1])) <= 0.04:
            return
    pytest.fail(f"sound and pictures are apart in every page: {found} s")


async def seen_minus_heard_s(ingest: Ingest, browser: Browser) -> list[float]:
    """Of the next four events that are there as a whole."""
    await until(lambda: ingest.of(MediaInfo)[-1].sync_source == "sender_report", browser)
    since = len(ingest.items)
    await until(lambda: len(sound_events_s(ingest.of(AudioChunk, since))) >= 6, browser)
    seen, heard = picture_events_s(ingest.of(VideoFrame, since)), sound_events_s(ingest.of(AudioChunk, since))
    return [round(min(seen, key=lambda s: abs(s - moment)) - moment, 3) for moment in heard[1:-1]]


async def test_a_killed_browser_may_come_back(chromium, devices):
    async with ingesting() as (ingest, whip):
        async with publishing(chromium, *devices, whip=whip) as browser:
            await until(lambda: len(ingest.of(VideoFrame)) > 5, browser)
        with pytest.raises(SourceError, match=r"no media|was lost") as caught:
            await asyncio.wait_for(ingest.running, 15)
    assert caught.value.retryable

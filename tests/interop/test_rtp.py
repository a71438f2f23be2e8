"""Plain RTP by SDP, sent by a real ffmpeg."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, MediaItem, VideoFrame
from monitor.sources.rtp import RtpSource
from tests.interop.conftest import need
from tests.interop.listening import listen, of
from tests.synth import Recipe, picture_events_s, sound_events_s, write_media

HEAD = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a call\nt=0 0\n"
H264_OPUS = f"""{HEAD}m=audio 0 RTP/AVP 111
a=rtpmap:111 opus/48000/2
m=video 0 RTP/AVPF 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=rtcp-fb:96 nack pli
"""
VP8_PCMU = f"""{HEAD}m=audio 0 RTP/AVP 0
m=video 0 RTP/AVPF 100
a=rtpmap:100 VP8/90000
"""
EVENTS_S = tuple(range(1, 10))
CASES = {
    "h264 opus": (H264_OPUS, Recipe(11, events_s=EVENTS_S, video_late_s=0.7, audio_codec="libopus")),
    "vp8 pcmu": (VP8_PCMU, Recipe(11, events_s=EVENTS_S, video_late_s=0.7, video_codec="libvpx", audio_codec="pcm_mulaw", rate_hz=8000)),
}
SENT_AS = {"h264 opus": {"audio": "111", "video": "96"}, "vp8 pcmu": {"audio": "0", "video": "100"}}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory) -> tuple[str, Path, dict[str, str]]:
    """An SDP, a clip of what it names, the payload types."""
    sdp, recipe = CASES[request.param]
    return sdp, write_media(tmp_path_factory.mktemp("rtp") / "late.nut", recipe), SENT_AS[request.param]


class Sender:
    """Starts ffmpeg as soon as it is told the ports."""

    def __init__(self, clip: Path, payload_types: Mapping[str, str], *kinds: str) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.ports: Mapping[str, tuple[int, int]] = {}
        self._program = need("ffmpeg")
        self._clip, self._payload_types, self._kinds = clip, payload_types, kinds or ("audio", "video")

    async def __call__(self, ports: Mapping[str, tuple[int, int]]) -> None:
        self.ports = ports
        command = [self._program, "-v", "error", "-re", "-i", str(self._clip)]
        began_us = round(time.time() * 1e6)
        for kind in self._kinds:
            rtp, rtcp = ports[kind]
            command += ["-map", f"0:{kind[0]}", "-c", "copy", "-payload_type", self._payload_types[kind]]
            command += ["-bsf:v", "dump_extra"] if kind == "video" and "96" in self._payload_types.values() else []
            command += ["-start_time_realtime", str(began_us), "-f", "rtp", f"rtp://127.0.0.1:{rtp}?rtcpport={rtcp}&pkt_size=1200"]
        self.process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@contextlib.asynccontextmanager
async def sending(*what) -> AsyncIterator[Sender]:
    sender = Sender(*what)
    try:
        yield sender
    finally:
        await sender.stop()


def both_beyond(time_s: float) -> Callable[[list[MediaItem]], bool]:
    """Whether sound and pictures came from after `time_s`."""
    beyond: set[type] = set()

    def enough(items: list[MediaItem]) -> bool:
        newest = items[-1]
        if not isinstance(newest, MediaInfo) and newest.time_s > time_s:
            beyond.add(type(newest))
        return len(beyond) == 2

    return enough


async def test_both_tracks_on_one_clock(case):
    sdp, clip, payload_types = case
    async with sending(clip, payload_types) as sender:
        items = await listen(RtpSource(sdp, Ingest(), listening=sender), both_beyond(6), seconds=50)
    assert of(items, MediaInfo) == [MediaInfo(True, True, "arrival"), MediaInfo(True, True, "sender_report")]
    aligned = items[items.index(MediaInfo(True, True, "sender_report")) :]
    assert of(items, VideoFrame)[0].rgb.shape == (120, 160, 3)
    seen, heard = picture_events_s(of(aligned, VideoFrame)), sound_events_s(of(aligned, AudioChunk))
    offsets = [s - min(heard, key=lambda h: abs(s - 0.7 - h)) for s in seen[1:]]
    print(np.round(offsets, 3))
    assert offsets == pytest.approx([0.7] * len(offsets), abs=0.04)
    assert len(offsets) >= 2


async def test_a_camera_alone(case):
    sdp, clip, payload_types = case
    camera_only = f"{HEAD}m=video{sdp.split('m=video')[1]}"
    async with sending(clip, payload_types, "video") as sender:
        items = await listen(RtpSource(camera_only, Ingest(), listening=sender), lambda items: len(items) > 10, seconds=40)
    assert of(items, MediaInfo) == [MediaInfo(False, True, "sender_report")]


async def test_a_sender_that_starts_again_is_another_sender(case):
    sdp, clip, payload_types = case
    async with sending(clip, payload_types) as first, sending(clip, payload_types) as second:

        def change(items: list[MediaItem]) -> bool:
            if len(items) == 50:
                first.process.kill()
                asyncio.get_running_loop().call_later(0.1, lambda: again.append(asyncio.ensure_future(second(first.ports))))
            return False

        again: list[asyncio.Future] = []
        with pytest.raises(SourceError, match="began anew") as caught:
            await listen(RtpSource(sdp, Ingest(), listening=first), change, seconds=60)
        await asyncio.gather(*again)
    assert caught.value.retryable


async def test_nobody_sends_yet():
    async def alone(ports: Mapping[str, tuple[int, int]]) -> None:
        """Nobody is told."""

    with pytest.raises(SourceError, match=r"nobody sends audio at 127\.0\.0\.1 port \d+ yet") as caught:
        await listen(RtpSource(H264_OPUS, Ingest(open_timeout_s=1), listening=alone))
    assert caught.value.retryable


async def test_a_port_that_nobody_can_know_is_a_mistake():
    with pytest.raises(SourceError, match="name the port that is sent to") as caught:
        await listen(RtpSource(H264_OPUS, Ingest()))
    assert not caught.value.retryable


async def test_a_sender_with_another_payload_type_is_told(case):
    sdp, clip, payload_types = case
    async with sending(clip, dict.fromkeys(payload_types, "120")) as sender:
        with pytest.raises(SourceError, match="payload type 120, the SDP says"):
            await listen(RtpSource(sdp, Ingest(open_timeout_s=5), listening=sender))

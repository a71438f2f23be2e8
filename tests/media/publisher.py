"""An aiortc publisher in the same process, a listener that keeps what our source gives, and a network between them that loses packets."""

import asyncio
import random
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

from monitor.channel import Channel
from monitor.media import MediaItem, VideoFrame
from monitor.sources import feed
from monitor.sources.webrtc import WebRtcSource
from tests.synth import bursts, picture

EVENTS_S = tuple(float(second) for second in range(1, 30))


class Camera(MediaStreamTrack):
    """Pictures of what happens at `time() - start_s`, from `late_s` on; timestamps begin at 0 with the first picture.

    `grain`: strength of noise, so that a picture takes several packets.
    """

    kind = "video"

    def __init__(self, start_s: float, late_s: float = 0.0, size: tuple[int, int] = (160, 120), fps: int = 25, grain: int = 0) -> None:
        super().__init__()
        self.first_s, self.start_s, self.size, self.fps, self.count = start_s + late_s, start_s, size, fps, 0
        noise = np.random.default_rng(1).integers(-grain, grain + 1, (8, size[1], size[0], 1)) if grain else None
        self._noise = noise

    async def recv(self) -> av.VideoFrame:
        due_s = self.first_s + self.count / self.fps
        await asyncio.sleep(due_s - asyncio.get_running_loop().time())
        rgb = picture(due_s - self.start_s, *self.size, EVENTS_S)
        if self._noise is not None:
            rgb = np.clip(rgb + self._noise[self.count % 8], 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = round(self.count / self.fps * 90_000), Fraction(1, 90_000)
        self.count += 1
        return frame


class Microphone(MediaStreamTrack):
    """What is heard at the same moments, 20 ms at a time."""

    kind = "audio"

    def __init__(self, start_s: float) -> None:
        super().__init__()
        self.start_s, self.count = start_s, 0
        self.sound = bursts(30, 48_000, EVENTS_S)

    async def recv(self) -> av.AudioFrame:
        await asyncio.sleep(self.start_s + self.count * 0.02 - asyncio.get_running_loop().time())
        first = self.count * 960 % len(self.sound)
        part = (self.sound[first : first + 960] * 32_767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self.count * 960, Fraction(1, 48_000)
        self.count += 1
        return frame


def publishing(*tracks: MediaStreamTrack, codec: str | None = None) -> RTCPeerConnection:
    """A peer that will send these tracks, pictures with `codec` alone ("VP8", "H264")."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for track in tracks:
        peer.addTrack(track)
    if codec:
        video = next(transceiver for transceiver in peer.getTransceivers() if transceiver.kind == "video")
        capabilities = RTCRtpSender.getCapabilities("video").codecs
        video.setCodecPreferences([known for known in capabilities if known.mimeType in (f"video/{codec}", "video/rtx")])
    return peer


async def publish(*tracks: MediaStreamTrack, codec: str | None = None) -> tuple[RTCPeerConnection, WebRtcSource]:
    peer = publishing(*tracks, codec=codec)
    await peer.setLocalDescription(await peer.createOffer())
    source = WebRtcSource()
    answer = await source.answer(peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return peer, source


class Listener:
    """Runs a source and keeps what it gives, in arrival order, with the loop's time beside it."""

    def __init__(self, source: WebRtcSource) -> None:
        self.items: list[MediaItem] = []
        self.arrived_s: list[float] = []
        self.channel: Channel[MediaItem] = Channel(64, "drop_oldest", lambda item: isinstance(item, VideoFrame))
        self.running = asyncio.create_task(feed(source, self.channel))
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        async for item in self.channel:
            self.items.append(item)
            self.arrived_s.append(loop.time())

    def of(self, kind: type, since: int = 0) -> list:
        return [item for item in self.items[since:] if isinstance(item, kind)]

    async def until(self, condition: Callable[[], object], seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while not condition() and not self.reading.done():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        async with asyncio.timeout(10):
            await self.running
            await self.reading


class Lossy:
    """Loses this share of what a peer sends, RTP and RTCP alike, by a fixed pattern; `lost` counts.

    Without `repair` the peer hears no request to send a packet again, but those for key frames.
    """

    def __init__(self, peer: RTCPeerConnection, share: float, seed: int = 1, *, repair: bool = True) -> None:
        self.lost = self.sent = 0
        for transceiver in [] if repair else peer.getTransceivers():
            transceiver.sender._retransmit = _never  # type: ignore[method-assign]
        chance = random.Random(seed)
        for transport in {half.transport for pair in peer.getTransceivers() for half in (pair.sender, pair.receiver)}:
            self._thin(transport, share, chance)

    def _thin(self, transport: object, share: float, chance: random.Random) -> None:
        pass_on = transport._send_rtp  # type: ignore[attr-defined]

        async def send(data: bytes) -> None:
            self.sent += 1
            if chance.random() < share:
                self.lost += 1
            else:
                await pass_on(data)

        transport._send_rtp = send  # type: ignore[attr-defined]


async def _never(sequence_number: int) -> None:
    pass

"""A publisher that has encoded everything before: sending costs it next to nothing, so that many calls fit on one machine."""

import asyncio
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack

from tests.synth import bursts, picture

FPS = 25
LOOP_S = 2


def encoded_pictures(size: tuple[int, int]) -> list[bytes]:
    """VP8 of a picture that moves and has grain; the first is a key frame."""
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"  # type: ignore[attr-defined]
    encoder.time_base, encoder.bit_rate = Fraction(1, FPS), 800_000
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}
    grain = np.random.default_rng(1).integers(-4, 5, (8, size[1], size[0], 1), np.int16)
    packets: list[bytes] = []
    for n in range(FPS * LOOP_S):
        rgb = np.clip(picture(n / FPS, *size).astype(np.int16) + grain[n % 8], 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = n, Fraction(1, FPS)
        packets += [bytes(packet) for packet in encoder.encode(frame)]  # type: ignore[attr-defined]
    return packets


def encoded_sound() -> list[bytes]:
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"  # type: ignore[attr-defined]
    encoder.open()
    samples = (bursts(LOOP_S, 48_000) * 32_767).astype(np.int16)
    packets: list[bytes] = []
    for n in range(LOOP_S * 50):
        frame = av.AudioFrame.from_ndarray(samples[None, n * 960 : (n + 1) * 960], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, n * 960
        packets += [bytes(packet) for packet in encoder.encode(frame)]  # type: ignore[attr-defined]
    return packets


class Recorded(MediaStreamTrack):
    """Gives packets out again and again, one every `step_s`."""

    def __init__(self, kind: str, packets: list[bytes], step_s: float, rate_hz: int, start_s: float) -> None:
        super().__init__()
        self.kind = kind
        self._packets, self._step_s, self._rate_hz, self._start_s, self._count = packets, step_s, rate_hz, start_s, 0

    async def recv(self) -> av.Packet:
        await asyncio.sleep(self._start_s + self._count * self._step_s - asyncio.get_running_loop().time())
        packet = av.Packet(self._packets[self._count % len(self._packets)])
        packet.pts, packet.time_base = round(self._count * self._step_s * self._rate_hz), Fraction(1, self._rate_hz)
        self._count += 1
        return packet


@dataclass(frozen=True)
class Recording:
    """An encoded call; picklable, so that it is encoded once for many processes."""

    pictures: list[bytes]
    sound: list[bytes]

    @classmethod
    def of(cls, size: tuple[int, int]) -> "Recording":
        return cls(encoded_pictures(size), encoded_sound())

    def tracks(self, start_s: float) -> tuple[Recorded, Recorded]:
        """`start_s`: the loop's time of the first packets."""
        return Recorded("audio", self.sound, 0.02, 48_000, start_s), Recorded("video", self.pictures, 1 / FPS, 90_000, start_s)

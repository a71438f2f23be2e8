"""What a call does to pictures, done to genuine and forged clips alike, and the 7 × 5 suite of distortions that papers report.

All pictures are uint8 [h, w, 3] RGB, all pictures of a clip of one size; as many come back, of the same size. Levels go from 1, mild, to 5.
"""

from collections.abc import Callable, Sequence
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.video_codec import bits_for, through_video_codec

Image = NDArray[np.uint8]
Draw = np.random.Generator
CALL_KBIT_S = (600, 400, 250, 160, 100)  # of a picture of 640 × 360
SHRUNK_TO = (0.85, 0.7, 0.55, 0.42, 0.3)
FROZEN_SHARE = (0.04, 0.08, 0.15, 0.25, 0.4)
LOST_SHARE = (0.01, 0.02, 0.05, 0.1, 0.2)
PICTURES_OF_30 = (24, 20, 17, 14, 12)
LIGHT = (0.85, 0.7, 0.55, 0.42, 0.3)


def _coded(codec: str) -> Callable[[Sequence[Image], Draw, int], list[Image]]:
    def coded(frames: Sequence[Image], rng: Draw, level: int) -> list[Image]:
        return through_video_codec(frames, codec, bits_per_s=bits_for(frames[0], CALL_KBIT_S[level - 1]))

    return coded


def resized(frames: Sequence[Image], rng: Draw, level: int) -> list[Image]:
    """Sent smaller and shown larger, with the filters of one sender and one receiver; half of the time over a second hop."""
    height, width = frames[0].shape[:2]
    share = SHRUNK_TO[level - 1]
    down = int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR]))
    up = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    hops = [share] if rng.random() < 0.5 else [(1 + share) / 2, share]
    sizes = [(max(8, round(width * hop)), max(8, round(height * hop))) for hop in hops]
    out = []
    for frame in frames:
        small = frame
        for size in sizes:
            small = cv2.resize(small, size, interpolation=down).astype(np.uint8)
        out.append(cv2.resize(small, (width, height), interpolation=up).astype(np.uint8))
    return out


def frozen(frames: Sequence[Image], rng: Draw, level: int) -> list[Image]:
    """Stretches of 3 to 15 pictures show the one before them, as a player without packets does; a share of the clip in all."""
    wanted, held = round(FROZEN_SHARE[level - 1] * len(frames)), np.zeros(len(frames), bool)
    for _ in range(len(frames)):
        left = wanted - int(held.sum())
        if left <= 0 or len(frames) < 3:
            break
        start = int(rng.integers(1, len(frames)))
        held[start : start + min(left, int(rng.integers(3, 16)))] = True
    return _held(frames, ~held)


def packets_lost(frames: Sequence[Image], rng: Draw, level: int) -> list[Image]:
    """H.264 at 400 kbit/s without some of its P-frames: what follows is built on the wrong picture until the next key frame."""
    lost = np.flatnonzero(rng.random(len(frames)) < LOST_SHARE[level - 1]).tolist()
    return through_video_codec(frames, "h264", {"g": "100"}, bits_for(frames[0], 400), set(lost))


def slowed(frames: Sequence[Image], rng: Draw, level: int) -> list[Image]:
    """24 down to 12 of 30 pictures; each is shown until the next."""
    share = PICTURES_OF_30[level - 1] / 30
    ticks = np.floor(np.arange(len(frames)) * share + rng.random())
    return _held(frames, np.diff(ticks, prepend=-1.0) > 0)


def dimmed(frames: Sequence[Image], rng: Draw, level: int) -> list[Image]:
    """Less light, the sensor's noise lifted with its gain, and an exposure that breathes slowly."""
    light = LIGHT[level - 1]
    noise = 2.0 * level
    phase, slow_hz = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5)
    gains = light * (1 + 0.06 * np.sin(2 * np.pi * slow_hz * np.arange(len(frames)) / 25 + phase))
    return [
        _bytes(f * np.float32(g) + rng.standard_normal(f.shape, np.float32) * np.float32(noise)) for f, g in zip(frames, gains, strict=True)
    ]


DEGRADATIONS: dict[str, Callable[[Sequence[Image], Draw, int], list[Image]]] = {
    "vp8": _coded("vp8"),
    "h264": _coded("h264"),
    "resize": resized,
    "freeze": frozen,
    "loss": packets_lost,
    "rate": slowed,
    "light": dimmed,
}


def as_in_a_call(frames: Sequence[Image], rng: Draw, hardest: int = 5) -> list[Image]:
    """A random chain in the order of a call: camera, rate, size, coding (at times with loss), player. Only the coding always happens.

    `hardest` 1 to 5 bounds the level of each.
    """
    out = list(frames)
    for name, chance in (("light", 0.35), ("rate", 0.4), ("resize", 0.5)):
        if rng.random() < chance:
            out = DEGRADATIONS[name](out, rng, int(rng.integers(1, 1 + min(4, hardest))))
    coding = str(rng.choice(["vp8", "h264", "loss"], p=[0.5, 0.35, 0.15]))
    out = DEGRADATIONS[coding](out, rng, int(rng.integers(1, 1 + hardest)))
    return DEGRADATIONS["freeze"](out, rng, int(rng.integers(1, 1 + min(3, hardest)))) if rng.random() < 0.2 else out


def _held(frames: Sequence[Image], new: NDArray[np.bool_]) -> list[Image]:
    """Each picture where `new`, else the last new one; the first is always new."""
    shown = np.maximum.accumulate(np.where(new, np.arange(len(frames)), 0))
    return [frames[index] for index in shown]


def _bytes(picture: NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(picture + np.float32(0.5), 0, 255), np.uint8)


# ---------------------------------------------------------------- single pictures: DeeperForensics-1.0's suite, with its parameters


def less_saturated(frame: Image, level: int) -> Image:
    gray = frame.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return _bytes(gray[..., None] + (frame - gray[..., None]) * np.float32((0.4, 0.3, 0.2, 0.1, 0.0)[level - 1]))


def less_contrast(frame: Image, level: int) -> Image:
    return _bytes((frame.astype(np.float32) - 127.5) * np.float32((0.85, 0.725, 0.6, 0.475, 0.35)[level - 1]) + 127.5)


def blocked(frame: Image, level: int) -> Image:
    """16 to 80 gray squares of 8 px, or fewer on a small picture: as dense as on 640 × 360."""
    rng = _draw_of(frame)
    out = frame.copy()
    count = round((16, 32, 48, 64, 80)[level - 1] * max(0.25, min(1.0, frame.shape[0] * frame.shape[1] / (640 * 360))))
    for x, y in zip(rng.integers(0, frame.shape[1] - 8, count), rng.integers(0, frame.shape[0] - 8, count), strict=True):
        out[y : y + 8, x : x + 8] = 127
    return out


def noisy(frame: Image, level: int) -> Image:
    spread = 255 * np.sqrt((0.001, 0.002, 0.005, 0.01, 0.05)[level - 1])
    return _bytes(frame + _draw_of(frame).standard_normal(frame.shape, np.float32) * np.float32(spread))


def blurred(frame: Image, level: int) -> Image:
    side = (7, 9, 13, 17, 21)[level - 1]
    return cv2.GaussianBlur(frame, (side, side), 0).astype(np.uint8)


def pixelated(frame: Image, level: int) -> Image:
    """Shrunk by 2 to 6 and shown as squares."""
    height, width = frame.shape[:2]
    small = cv2.resize(frame, (max(1, width // (level + 1)), max(1, height // (level + 1))), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def compressed(frame: Image, level: int) -> Image:
    """One H.264 key frame at CRF 30 to 40."""
    return through_video_codec([frame], "h264", {"crf": str((30, 32, 35, 38, 40)[level - 1])})[0]


DISTORTIONS: dict[str, Callable[[Image, int], Image]] = {
    "saturation": less_saturated,
    "contrast": less_contrast,
    "blocks": blocked,
    "noise": noisy,
    "blur": blurred,
    "pixelation": pixelated,
    "compression": compressed,
}


def _draw_of(frame: Image) -> Draw:
    """Seeded by the picture itself: the same picture is spoilt in the same way, the next one in another."""
    return np.random.default_rng(crc32(np.ascontiguousarray(frame[::4, ::4]).tobytes()))

"""Log spectra of many clips in one file of bytes, and cheap distortions of them: so that a training step waits for the net, not for sound.

A clip lies there plain, through its codec, and through room, filter, noise and codec (`roughen`): the dear part, done once. Filters, noise,
level and masks are drawn anew for each use, on the power of the spectrum, where a filter is a product and noise a sum.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.data.sound import Colouring
from monitor.speech.features import LOG_FLOOR, RMS, spectrogram

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Channel = tuple[Floats, Floats, float, int]
BINS = 256
LOWEST, STEP = -11.6, 0.08  # log power of byte 0, and between two bytes (a third of a decibel)
POWER = np.exp(LOWEST + STEP * np.arange(256)).astype(np.float32)
MEAN_POWER = np.float32(RMS**2 * 150)  # of a bin at fixed RMS: 150 is the energy of the 25 ms Hann window
HZ = np.arange(BINS, dtype=np.float32) * 31.25
COLOURING = Colouring(peak_db=6, narrow_share=0.3, narrow_least_db=20, thin_share=0.2)


class SpectrumPack:
    """Clips by name, out of one or several files; each uint8 [frames, 256], byte b = log power LOWEST + b × STEP. Mapped, not loaded."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._place: dict[str, tuple[Bytes, int, int]] = {}
        for path in paths:
            index, content = np.load(path.with_suffix(".index.npz")), np.memmap(path, np.uint8, "r").reshape(-1, BINS)
            for name, start, end in zip(index["names"], index["starts"], index["starts"][1:], strict=False):
                self._place[str(name)] = (content, int(start), int(end))

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def get(self, name: str) -> Bytes:
        content, start, end = self._place[name]
        return content[start:end]

    @staticmethod
    def write(path: Path, clips: Iterable[tuple[str, Floats]]) -> None:
        """`clips`: names and log spectra [frames, 256]. The index comes last: a pack without one is unfinished."""
        names, starts = [], [0]
        with path.open("wb") as out:
            for name, log_spectrum in clips:
                out.write(to_bytes(log_spectrum).tobytes())
                names.append(name)
                starts.append(starts[-1] + len(log_spectrum))
        np.savez(path.with_suffix(".index.npz"), names=np.array(names), starts=np.array(starts, np.int64))


def to_bytes(log_spectrum: Floats) -> Bytes:
    return np.clip(np.round((log_spectrum - LOWEST) / STEP), 0, 255).astype(np.uint8)


def frames_of(clip: Bytes, length: int, share: float) -> Bytes:
    """`length` frames, begun at `share` (0–1) of what is possible; a shorter clip is repeated."""
    if len(clip) < length:
        clip = np.tile(clip, (-(-length // max(len(clip), 1)), 1))
    start = round(share * (len(clip) - length))
    return clip[start : start + length]


def at_speed(clip: Bytes, length: int, share: float, speed: float) -> Bytes:
    """`length` frames as if the sound were played `speed` times as fast: later frames come sooner, frequencies are `speed` times as high.

    What a system leaves behind lies at other frequencies when it works at another sampling rate; no band may be learned by heart.
    """
    if speed == 1.0:
        return frames_of(clip, length, share)
    taken = frames_of(clip, int(np.ceil((length - 1) * speed)) + 2, share).astype(np.float32)
    rows, bins = np.arange(length) * speed, np.minimum(np.arange(BINS) / speed, BINS - 1)
    top, left = rows.astype(int), np.minimum(bins.astype(int), BINS - 2)
    down, right = (rows - top).astype(np.float32)[:, None], (bins - left).astype(np.float32)
    stretched = taken[top] * (1 - down) + taken[top + 1] * down
    heard = stretched[:, left] * (1 - right) + stretched[:, left + 1] * right
    heard[:, np.arange(BINS) > (BINS - 1) * speed] = 0
    played: Bytes = np.rint(heard).astype(np.uint8)
    return played


class Distort:
    """Draws channels (filter, noise, level) and lets spectra pass through them; two clips through one channel are distorted alike."""

    def __init__(self, rng: np.random.Generator, seconds: float = 120.0) -> None:
        self._rng = rng
        noise = rng.standard_normal(int(seconds * 16_000)).astype(np.float32) * np.float32(RMS)
        # Power of the noise alone, and of its part in step with some other sound: what is added when sounds, not powers, add up.
        self._power = (spectrogram(noise)[:, :BINS] / MEAN_POWER).astype(np.float32)
        angle = rng.random(self._power.shape, np.float32) * np.float32(2 * np.pi)
        self._along = (np.sqrt(self._power) * np.cos(angle)).astype(np.float32)

    def channel(self) -> Channel:
        """(filter power gain [256], noise power [256] relative to the mean power, level gain, place in the noise)."""
        rng = self._rng
        gain_db, noise = COLOURING.gain_db(HZ, rng), np.zeros(BINS, np.float32)
        if rng.random() < 0.6:
            noise = (np.maximum(HZ, 30) ** -rng.uniform(0, 2.4)).astype(np.float32)
            noise *= np.float32(10 ** (-rng.uniform(12, 60) / 10)) / noise.mean()
        return (
            (10 ** (gain_db / 10)).astype(np.float32),
            noise,
            float(10 ** rng.uniform(-0.25, 0.25)),
            int(rng.integers(0, len(self._power) - 400)),
        )

    def through(self, clip: Bytes, channel: Channel) -> Floats:
        """Log spectrum float32 [frames, 256] of `clip` through `channel`, at fixed RMS but for the level's gain."""
        gain, noise, level, place = channel
        power = POWER[clip] * gain
        power *= MEAN_POWER * np.float32(level) / max(float(power.mean()), 1e-9)
        if noise.any():
            added = noise * MEAN_POWER
            here = slice(place, place + len(clip))
            power += added * self._power[here] + 2 * np.sqrt(power * added) * self._along[here]
            np.maximum(power, 0, out=power)
        heard: Floats = np.log(power + np.float32(LOG_FLOOR))
        return heard

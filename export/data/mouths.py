"""What may happen to lips on their way through a call, done to genuine and forged faces alike."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.faces.crop import MOUTH_PX

Mouths = NDArray[np.uint8]
Floats = NDArray[np.float32]


def mirrored(count: int, start: int, steps: int) -> NDArray[np.int64]:
    """Indices of `steps` pictures from `start` on; where the clip of `count` ends, it runs back: no jump gives a short clip away."""
    if count == 1:
        return np.zeros(steps, np.int64)
    way = np.concatenate([np.arange(count), np.arange(count - 2, 0, -1)])
    return way[(start + np.arange(steps)) % len(way)]


def worn_mouths(mouths: Mouths, rng: np.random.Generator) -> Floats:
    """Mouths uint8 [T, 64, 64] as a call may show them: float32, 0..255."""
    return moved_mouths(MouthWear.drawn(rng).applied(mouths, rng), rng)


@dataclass(frozen=True)
class MouthWear:
    """What a camera and a codec take away: pictures a second (0: none), side in px (0: all), blur in px, JPEG quality (0: none)."""

    rate_hz: float
    size_px: int
    sigma_px: float
    quality: int

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "MouthWear":
        rate_hz = float(rng.uniform(10, 20)) if rng.random() < 0.2 else 0.0
        size_px = int(rng.uniform(28, 60)) if rng.random() < 0.35 else 0
        sigma_px = float(rng.uniform(0.3, 1.1)) if rng.random() < 0.3 else 0.0
        return cls(rate_hz, size_px, sigma_px, int(rng.uniform(35, 90)) if rng.random() < 0.4 else 0)

    def applied(self, mouths: Mouths, rng: np.random.Generator) -> Mouths:
        if self.rate_hz:
            mouths = _slower(mouths, self.rate_hz, rng)
        return np.stack([self._worn(mouth) for mouth in mouths])

    def _worn(self, mouth: Mouths) -> Mouths:
        if self.size_px:
            mouth = cv2.resize(mouth, (self.size_px, self.size_px), interpolation=cv2.INTER_AREA).astype(np.uint8)
            mouth = cv2.resize(mouth, (MOUTH_PX, MOUTH_PX), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
        if self.sigma_px:
            mouth = cv2.GaussianBlur(mouth, (0, 0), self.sigma_px).astype(np.uint8)
        if self.quality:
            _, packed = cv2.imencode(".jpg", mouth, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            mouth = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)
        return mouth


def moved_mouths(mouths: Mouths, rng: np.random.Generator, inner: tuple[slice, slice] | None = None) -> Floats:
    """Turned, scaled, stretched, moved, flipped, relit, at times noisy or partly hidden: float32 [T, 64, 64] or only its `inner` part."""
    rows, columns = inner or (slice(0, MOUTH_PX), slice(0, MOUTH_PX))
    matrix = np.asarray(cv2.getRotationMatrix2D((MOUTH_PX / 2, MOUTH_PX / 2), rng.uniform(-9, 9), rng.uniform(0.86, 1.16)), np.float64)
    stretch = float(rng.uniform(0.93, 1.07))
    matrix[0] = stretch * matrix[0] + [0, 0, (1 - stretch) * MOUTH_PX / 2]
    if rng.random() < 0.5:
        matrix[0] = [0, 0, MOUTH_PX - 1] - matrix[0]
    matrix[:, 2] += rng.uniform(-4, 4, 2) - [columns.start, rows.start]
    size = (columns.stop - columns.start, rows.stop - rows.start)
    light = _light(rng)
    moved = [cv2.warpAffine(cv2.LUT(mouth, light), matrix, size, borderMode=cv2.BORDER_REPLICATE) for mouth in mouths]
    out: Floats = np.asarray(moved, np.float32)
    if rng.random() < 0.25:
        out += rng.standard_normal(out.shape, np.float32) * np.float32(rng.uniform(1, 7))
    if rng.random() < 0.2:  # a hand, a microphone
        high, wide = rng.integers(5, 16, 2)
        top, left = int(rng.integers(0, size[1] - high)), int(rng.integers(0, size[0] - wide))
        out[:, top : top + high, left : left + wide] = rng.uniform(0, 255)
    return np.clip(out, 0, 255)


def _light(rng: np.random.Generator) -> Mouths:
    """A table of 256 grey values: gamma, contrast and brightness."""
    level = np.arange(256) / 255
    gamma = rng.uniform(0.7, 1.4) if rng.random() < 0.5 else 1.0
    return np.clip(255 * level**gamma * rng.uniform(0.7, 1.2) + rng.uniform(-20, 20), 0, 255).astype(np.uint8)


def _slower(mouths: Mouths, rate_hz: float, rng: np.random.Generator) -> Mouths:
    """The same stretch seen by a camera of `rate_hz`, each picture shown until the nearest next one."""
    taken = np.round(np.arange(0, len(mouths) * rate_hz / 25) * 25 / rate_hz + rng.uniform(0, 1)).clip(0, len(mouths) - 1).astype(np.int64)
    shown: Mouths = mouths[taken[np.abs(taken[None] - np.arange(len(mouths))[:, None]).argmin(1)]]
    return shown

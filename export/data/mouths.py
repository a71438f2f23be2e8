"""What may happen to lips on their way through a call, done to genuine and forged faces alike."""

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.faces.crop import MOUTH_PX

Mouths = NDArray[np.uint8]


def mirrored(count: int, start: int, steps: int) -> NDArray[np.int64]:
    """Indices of `steps` pictures from `start` on; where the clip of `count` ends, it runs back: no jump gives a short clip away."""
    if count == 1:
        return np.zeros(steps, np.int64)
    way = np.concatenate([np.arange(count), np.arange(count - 2, 0, -1)])
    return way[(start + np.arange(steps)) % len(way)]


def worn_mouths(mouths: Mouths, rng: np.random.Generator) -> NDArray[np.float32]:
    """Mouths uint8 [T, 64, 64] moved, turned, scaled, flipped, relit, blurred, compressed, at times slower: float32, 0..255."""
    if rng.random() < 0.2:
        mouths = _slower(mouths, rng)
    angle, scale = rng.uniform(-8, 8), rng.uniform(0.87, 1.15)
    matrix = np.asarray(cv2.getRotationMatrix2D((MOUTH_PX / 2, MOUTH_PX / 2), angle, scale), np.float64)
    matrix[:, 2] += rng.uniform(-4, 4, 2)
    if rng.random() < 0.5:
        mouths = mouths[:, :, ::-1]
    size = int(rng.uniform(28, 60)) if rng.random() < 0.35 else 0
    sigma = rng.uniform(0.3, 1.1) if rng.random() < 0.3 else 0.0
    quality = int(rng.uniform(35, 90)) if rng.random() < 0.4 else 0
    out: NDArray[np.float32] = np.stack([_worn(np.ascontiguousarray(mouth), matrix, size, sigma, quality) for mouth in mouths]).astype(
        np.float32
    )
    if rng.random() < 0.5:
        out = (255 * (out / 255) ** rng.uniform(0.7, 1.4)).astype(np.float32)
    if rng.random() < 0.3:
        out = out + rng.standard_normal(out.shape, np.float32) * np.float32(rng.uniform(1, 7))
    relit: NDArray[np.float32] = np.clip(out * rng.uniform(0.7, 1.2) + rng.uniform(-20, 20), 0, 255).astype(np.float32)
    return relit


def _worn(mouth: Mouths, matrix: NDArray[np.float64], size: int, sigma: float, quality: int) -> Mouths:
    mouth = cv2.warpAffine(mouth, matrix, (MOUTH_PX, MOUTH_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
    if size:
        mouth = cv2.resize(mouth, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)
        mouth = cv2.resize(mouth, (MOUTH_PX, MOUTH_PX), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    if sigma:
        mouth = cv2.GaussianBlur(mouth, (0, 0), sigma).astype(np.uint8)
    if quality:
        _, packed = cv2.imencode(".jpg", mouth, [cv2.IMWRITE_JPEG_QUALITY, quality])
        mouth = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)
    return mouth


def _slower(mouths: Mouths, rng: np.random.Generator) -> Mouths:
    """The same stretch seen by a camera of 10–20 pictures a second, each shown until the nearest next one."""
    rate = rng.uniform(10, 20)
    taken = np.round(np.arange(0, len(mouths) * rate / 25) * 25 / rate + rng.uniform(0, 1)).clip(0, len(mouths) - 1).astype(np.int64)
    shown: Mouths = mouths[taken[np.abs(taken[None] - np.arange(len(mouths))[:, None]).argmin(1)]]
    return shown

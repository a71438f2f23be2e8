"""Aligned face and mouth crops from five landmarks: the only copy, used in calls and in training alike."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.media import Luma

FACE_PX = 128
MOUTH_PX = 64
TILE_PX = 12
TILE_SIDES_PX = (1, 2, 3, 4, 6, 8)  # what a tile may be shrunk to; all but 8 are plain means of whole pixels, which is fast
MOST_SHRINKING = 0.85  # by bilinear interpolation alone; a stronger one is preceded by averaging
# Where eyes, nose and mouth corners land in a unit square (the usual 5-point template of face recognition), and in each crop, of side 1.
_TEMPLATE = np.array([[0.3415, 0.4056], [0.6565, 0.4047], [0.5001, 0.5609], [0.3708, 0.7235], [0.6320, 0.7227]], np.float32)
FACE_POINTS = _TEMPLATE - [0.0, 0.02]
MOUTH_POINTS = (_TEMPLATE - [0.5, 0.73]) * 1.75 + [0.5, 0.5]
Image = NDArray[np.uint8]
_WIDENED: Image = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)


def face_crop(rgb: Image, landmarks_xy: NDArray[np.float32], margin_px: int = 0) -> Image:
    """Upright face, uint8 [128, 128, 3], from frame [h, w, 3] and landmarks [5, 2] in its pixels. Beyond the frame its edge goes on.

    `margin_px` adds that much of the surroundings at every side (training cuts its jittered 128 px out of such a wider picture).
    """
    return _warp(rgb, landmarks_xy, FACE_POINTS * FACE_PX + margin_px, FACE_PX + 2 * margin_px)


def mouth_crop(luma: Luma, landmarks_xy: NDArray[np.float32]) -> Image:
    """Upright lower face around the lips, gray uint8 [64, 64], 0..255."""
    return at_full_range(_warp(luma.pixels, landmarks_xy, MOUTH_POINTS * MOUTH_PX, MOUTH_PX), luma)


def at_full_range(gray: Image, luma: Luma) -> Image:
    """`gray`, some of the brightness of `luma`, stretched so that 0 is black and 255 is white."""
    return gray if luma.full_range else cv2.LUT(gray, _WIDENED)  # type: ignore[return-value]


def _warp(picture: Image, landmarks_xy: NDArray[np.float32], target_xy: NDArray[np.floating], size: int) -> Image:
    """Square crop of `size` px. Only the part of the frame that it shows is touched, and averaged first where it must shrink a lot."""
    cos, sin, x, y = _fitted(landmarks_xy, target_xy)
    scale = max(math.hypot(cos, sin), 1e-6)
    kept = next((side for side in TILE_SIDES_PX if side * MOST_SHRINKING >= TILE_PX * scale), TILE_PX)
    step = TILE_PX / kept
    dx, dy, half = size / 2 - x, size / 2 - y, size / 2 * (abs(cos) + abs(sin)) / scale**2 + 2 * step
    across = _tiles((cos * dx + sin * dy) / scale**2, half, picture.shape[1])
    down = _tiles((cos * dy - sin * dx) / scale**2, half, picture.shape[0])
    part = _shrunk(picture, across, down, kept)
    left, top = across.start + step / 2 - 0.5, down.start + step / 2 - 0.5
    matrix = np.array([[cos * step, -sin * step, cos * left - sin * top + x], [sin * step, cos * step, sin * left + cos * top + y]])
    return cv2.warpAffine(part, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _tiles(centre: float, half: float, length: int) -> range:
    """Pixels of the tiles that cover centre ± half, at least one of those that the frame has; the last one may reach beyond it."""
    last = -(-length // TILE_PX) - 1
    low = min(max(math.floor((centre - half) / TILE_PX), 0), last)
    high = min(max(math.floor((centre + half) / TILE_PX), low), last)
    return range(low * TILE_PX, (high + 1) * TILE_PX)


def _shrunk(picture: Image, across: range, down: range, kept: int) -> Image:
    """That part of the frame, each tile shrunk to `kept` px; whichever part is taken, so that a wider crop holds the narrower one."""
    part = picture[down.start : down.stop, across.start : across.stop]
    if kept == TILE_PX:
        return part
    below, beside = len(down) - part.shape[0], len(across) - part.shape[1]
    if below or beside:
        part = cv2.copyMakeBorder(part, 0, below, 0, beside, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    size = len(across) // TILE_PX * kept, len(down) // TILE_PX * kept
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA if TILE_PX % kept == 0 else cv2.INTER_LINEAR)  # type: ignore[return-value]


def halved(picture: Image) -> Image:
    """Every 2 × 2 px averaged; an odd last row or column is left out. Twenty times faster than OpenCV's averaging by any odd ratio."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return cv2.resize(picture[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def similarity(from_xy: NDArray[np.floating], to_xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rotation, scale and shift [3, 3] that best maps points [n, 2] onto points [n, 2] in least squares (Umeyama 1991, not mirrored)."""
    cos, sin, x, y = _fitted(from_xy, to_xy)
    return np.array([[cos, -sin, x], [sin, cos, y], [0.0, 0.0, 1.0]])


def _fitted(from_xy: NDArray[np.floating], to_xy: NDArray[np.floating]) -> tuple[float, float, float, float]:
    """`similarity` as cos, sin (both times the scale) and shift x, y. Plain floats: numpy takes 40 times longer for five points."""
    a, b = from_xy.tolist(), to_xy.tolist()
    count, ax, ay, bx, by, norm, cos, sin = len(a), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for (px, py), (qx, qy) in zip(a, b, strict=True):
        ax, ay, bx, by = ax + px / count, ay + py / count, bx + qx / count, by + qy / count
        norm += px * px + py * py
        cos += px * qx + py * qy
        sin += px * qy - py * qx
    norm = max(norm - count * (ax * ax + ay * ay), 1e-9)
    cos, sin = (cos - count * (ax * bx + ay * by)) / norm, (sin - count * (ax * by - ay * bx)) / norm
    return cos, sin, bx - cos * ax + sin * ay, by - sin * ax - cos * ay

"""Aligned face and mouth crops from five landmarks: the only copy, used in calls and in training alike."""

import cv2
import numpy as np
from numpy.typing import NDArray

FACE_PX = 128
MOUTH_PX = 64
TILE_PX = 16
# Where eyes, nose and mouth corners land in a unit square (the usual 5-point template of face recognition), and in each crop, of side 1.
_TEMPLATE = np.array([[0.3415, 0.4056], [0.6565, 0.4047], [0.5001, 0.5609], [0.3708, 0.7235], [0.6320, 0.7227]], np.float32)
FACE_POINTS = _TEMPLATE - [0.0, 0.02]
MOUTH_POINTS = (_TEMPLATE - [0.5, 0.73]) * 1.75 + [0.5, 0.5]
Image = NDArray[np.uint8]


def face_crop(rgb: Image, landmarks_xy: NDArray[np.float32], margin_px: int = 0) -> Image:
    """Upright face, uint8 [128, 128, 3], from frame [h, w, 3] and landmarks [5, 2] in its pixels. Beyond the frame its edge goes on.

    `margin_px` adds that much of the surroundings at every side (training cuts its jittered 128 px out of such a wider picture).
    """
    return _warp(rgb, landmarks_xy, FACE_POINTS * FACE_PX + margin_px, FACE_PX + 2 * margin_px)


def mouth_crop(rgb: Image, landmarks_xy: NDArray[np.float32]) -> Image:
    """Upright lower face around the lips, gray uint8 [64, 64]."""
    return cv2.cvtColor(_warp(rgb, landmarks_xy, MOUTH_POINTS * MOUTH_PX, MOUTH_PX), cv2.COLOR_RGB2GRAY).astype(np.uint8)


def _warp(rgb: Image, landmarks_xy: NDArray[np.float32], target_xy: NDArray[np.floating], size: int) -> Image:
    matrix = similarity(landmarks_xy, target_xy)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.7:  # shrinking: average first, so that the crop does not alias; only what is needed, for averaging a whole frame is slow
        rgb, matrix = _shrunk(rgb, matrix, size, scale * 1.4)
    return cv2.warpAffine(rgb, matrix[:2], (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


def _shrunk(rgb: Image, matrix: NDArray[np.float64], size: int, factor: float) -> tuple[Image, NDArray[np.float64]]:
    """The part of the frame that `matrix` maps into the crop, made smaller, and the matrix from there.

    Tiles of 16 px are averaged to k px each, whichever part is taken, so that a wider crop holds the narrower one unchanged.
    """
    corners = np.linalg.inv(matrix) @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
    tiles = -(-np.array([[rgb.shape[1]], [rgb.shape[0]]]) // TILE_PX)
    low = np.clip(np.floor((corners[:2].min(1, keepdims=True) - 2 / factor) / TILE_PX), 0, tiles - 1).astype(int)
    high = np.clip(np.ceil((corners[:2].max(1, keepdims=True) + 2 / factor) / TILE_PX), low + 1, tiles).astype(int)
    (x0, y0), (x1, y1) = low[:, 0] * TILE_PX, high[:, 0] * TILE_PX
    part = rgb[y0:y1, x0:x1]
    part = cv2.copyMakeBorder(part, 0, y1 - y0 - part.shape[0], 0, x1 - x0 - part.shape[1], cv2.BORDER_REPLICATE).astype(np.uint8)
    kept = int(np.ceil(TILE_PX * min(factor, 1.0)))
    width, height = (int(side) * kept for side in (high - low)[:, 0])
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    step = TILE_PX / kept
    back = np.array([[step, 0, x0 + step / 2 - 0.5], [0, step, y0 + step / 2 - 0.5], [0, 0, 1]])
    return small, matrix @ back


def similarity(from_xy: NDArray[np.floating], to_xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rotation, scale and shift [3, 3] that best maps points [n, 2] onto points [n, 2] in least squares (Umeyama 1991, not mirrored)."""
    a = np.asarray(from_xy, np.float64)
    b = np.asarray(to_xy, np.float64)
    centred_a = a - a.mean(0)
    centred_b = b - b.mean(0)
    norm = max(float((centred_a**2).sum()), 1e-9)
    cos = float((centred_a * centred_b).sum()) / norm
    sin = float((centred_a[:, 0] * centred_b[:, 1] - centred_a[:, 1] * centred_b[:, 0]).sum()) / norm
    rotation = np.array([[cos, -sin], [sin, cos]])
    shift = b.mean(0) - rotation @ a.mean(0)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [0.0, 0.0, 1.0]])

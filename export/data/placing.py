"""A picture as large as fits into a part of another."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Rect = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""


def put_into(canvas: Image, place: Rect, picture: Image, enlarging: int = cv2.INTER_AREA) -> tuple[float, int, int]:
    """Writes `picture` into the middle of `place`, with one colour or three as both have them; returns how it was scaled, and its left and
    top edge. `enlarging`: OpenCV's interpolation where it has to grow.
    """
    left, top, width, height = place
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    left, top = left + (width - size[0]) // 2, top + (height - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else enlarging)
    return scale, left, top

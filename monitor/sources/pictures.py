"""Any decoder's frame → upright RGB with square pixels, no larger than the models can use."""

import threading
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

LONG_SIDE_PX = 1280


class _Converters(threading.local):
    """One for each thread, because its tables cost six times what a 360p picture costs; `frame.reformat` makes them for every picture."""

    def __init__(self) -> None:
        self.reformat = VideoReformatter().reformat


_converters = _Converters()


def upright_rgb(frame: av.VideoFrame, pixel_aspect: Fraction | None = None) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]; the display matrix's quarter turns are applied, the long side is at most 1280 px.

    `pixel_aspect` is a pixel's width over its height; None or nonsense means square.
    """
    width, height = float(frame.width), float(frame.height)
    if pixel_aspect is not None and 0.25 <= pixel_aspect <= 4:
        width *= float(pixel_aspect)
    scale = min(1.0, LONG_SIDE_PX / max(width, height))
    target = (max(2, round(width * scale)), max(2, round(height * scale)))
    converted = _converters.reformat(frame, *target, "rgb24", threads=1)  # PyAV's default: one per core, twice as dear
    rgb = _pixels(converted)
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb


def _pixels(rgb: av.VideoFrame) -> NDArray[np.uint8]:
    """The frame's own memory where its lines have no padding, as with usual sizes; else a copy."""
    plane = rgb.planes[0]
    if plane.line_size != rgb.width * 3:
        return np.ascontiguousarray(rgb.to_ndarray(), np.uint8)
    return np.frombuffer(memoryview(plane), np.uint8)[: rgb.height * plane.line_size].reshape(rgb.height, rgb.width, 3)

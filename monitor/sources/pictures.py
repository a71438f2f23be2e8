"""Any decoder's frame as an upright picture with square pixels, no larger than the models can use."""

import threading
from fractions import Fraction
from functools import cached_property

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from monitor.media import Luma

LONG_SIDE_PX = 1280
BRIGHTNESS_FIRST = ("yuv420p", "yuv422p", "yuv444p", "nv12", "nv21", "yuvj420p", "yuvj422p", "yuvj444p", "gray")
"""Formats of 8 bits whose first plane is brightness. The last four always use the full range."""


class _Converters(threading.local):
    """One for each thread, because its tables cost six times what a 360p picture costs; `frame.reformat` makes them for every picture."""

    def __init__(self) -> None:
        self.reformat = VideoReformatter().reformat


_converters = _Converters()


class DecodedPicture:
    """A `monitor.media.Picture`. The display matrix's quarter turns are applied, the long side is at most 1280 px.

    Brightness is the decoder's own memory where possible; colours are made when they are asked for. `pixel_aspect` is a pixel's width
    over its height; None or nonsense means square. Raises av.FFmpegError or ValueError for a format that FFmpeg cannot convert.
    """

    def __init__(self, frame: av.VideoFrame, pixel_aspect: Fraction | None = None) -> None:
        width, height = float(frame.width), float(frame.height)
        if pixel_aspect is not None and 0.25 <= pixel_aspect <= 4:
            width *= float(pixel_aspect)
        scale = min(1.0, LONG_SIDE_PX / max(width, height))
        self._frame = frame
        self._lying_wh = max(2, round(width * scale)), max(2, round(height * scale))
        self._quarter_turns = round(frame.rotation / 90) % 4
        if frame.format.name not in BRIGHTNESS_FIRST:
            _ = self.rgb  # now, so that what cannot be converted is told here

    @property
    def size_wh(self) -> tuple[int, int]:
        width, height = self._lying_wh
        return (height, width) if self._quarter_turns % 2 else (width, height)

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        converted = self._converted("rgb24")
        flat = np.ascontiguousarray(_lines(converted, 3 * converted.width))
        return self._upright(flat.reshape(converted.height, converted.width, 3))

    @cached_property
    def luma(self) -> Luma:
        name = self._frame.format.name
        if name not in BRIGHTNESS_FIRST or self._lying_wh != (self._frame.width, self._frame.height):
            return Luma(self._upright(_lines(self._converted("gray"), self._lying_wh[0])))
        full_range = name.startswith(("yuvj", "gray")) or self._frame.color_range == ColorRange.JPEG
        return Luma(self._upright(_lines(self._frame, self._frame.width)), full_range)

    def _converted(self, pixel_format: str) -> av.VideoFrame:
        return _converters.reformat(self._frame, *self._lying_wh, pixel_format, threads=1)  # PyAV's default: one per core, twice as dear

    def _upright(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.rot90(pixels, self._quarter_turns)) if self._quarter_turns else pixels


def _lines(frame: av.VideoFrame, length: int) -> NDArray[np.uint8]:
    """The first `length` bytes of each line of the first plane, in the frame's own memory: uint8 [height, length], not contiguous."""
    plane = frame.planes[0]
    whole = np.frombuffer(memoryview(plane), np.uint8)[: frame.height * plane.line_size]
    return whole.reshape(frame.height, plane.line_size)[:, :length]

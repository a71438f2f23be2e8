"""Decoded pictures: the brightness as sent and the colours made from it show the same, whatever the format."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.faces.crop import at_full_range
from monitor.media import Pixels
from monitor.sources.pictures import DecodedPicture

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "nv12", "yuvj420p", "gray", "rgb24", "yuv420p10le", "bgra"]


def soft(width: int, height: int) -> NDArray[np.uint8]:
    """Brightness from black to white in faint colours, RGB."""
    ramp = np.linspace(0, 255, width) * np.ones((height, 1))
    tint = np.linspace(-6, 6, height)[:, None]
    return np.stack([ramp + tint, ramp, ramp - tint], axis=2).clip(0, 255).astype(np.uint8)


def decoded(pixel_format: str, width: int = 322, height: int = 178) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(soft(width, height), format="rgb24").reformat(format=pixel_format)


def brightness(picture: DecodedPicture | Pixels) -> NDArray[np.float32]:
    return at_full_range(np.ascontiguousarray(picture.luma.pixels), picture.luma).astype(np.float32)


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_brightness_and_colours_agree(pixel_format: str) -> None:
    picture = DecodedPicture(decoded(pixel_format))
    assert picture.size_wh == (322, 178)
    assert picture.rgb.shape == (178, 322, 3)
    assert picture.rgb.flags.c_contiguous
    difference = np.abs(brightness(picture) - brightness(Pixels(picture.rgb)))
    assert difference.mean() < 1.6, "FFmpeg rounds colours by about one level"
    assert difference.max() <= 6


def test_full_range_is_read_off_the_frame_too() -> None:
    frame = decoded("yuvj420p")
    frame = av.VideoFrame.from_ndarray(frame.to_ndarray(), format="yuv420p")
    assert not DecodedPicture(frame).luma.full_range
    frame.color_range = 2
    assert DecodedPicture(frame).luma.full_range


@pytest.mark.parametrize("pixel_format", ["yuv420p", "rgb24"])
def test_large_pictures_and_odd_pixels_are_brought_to_size(pixel_format: str) -> None:
    for picture, size_wh in (
        (DecodedPicture(decoded(pixel_format, 2560, 720)), (1280, 360)),
        (DecodedPicture(decoded(pixel_format), Fraction(2)), (644, 178)),
        (DecodedPicture(decoded(pixel_format), Fraction(99)), (322, 178)),
    ):
        assert picture.size_wh == size_wh
        assert picture.rgb.shape == (size_wh[1], size_wh[0], 3)
        assert np.abs(brightness(picture) - brightness(Pixels(picture.rgb))).mean() < 1.6


def test_pictures_outlive_their_frame_and_give_back_its_own_memory() -> None:
    frame = decoded("yuv420p", 640, 360)
    picture = DecodedPicture(frame)
    del frame
    luma = picture.luma.pixels
    assert luma.base is not None, "a view, not a copy"
    expected = cv2.cvtColor(soft(640, 360), cv2.COLOR_RGB2GRAY).astype(np.float32)
    assert np.abs(brightness(picture) - expected).mean() < 1.6
    assert picture.rgb is picture.rgb, "converted once"

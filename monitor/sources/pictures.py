"""Any decoder's frame → upright RGB with square pixels, no larger than the models can use."""

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

LONG_SIDE_PX = 1280


def upright_rgb(frame: av.VideoFrame, pixel_aspect: Fraction | None = None) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]; the display matrix's quarter turns are applied, the long side is at most 1280 px.

    `pixel_aspect` is a pixel's width over its height; None or nonsense means square.
    """
    width, height = float(frame.width), float(frame.height)
    if pixel_aspect is not None and 0.25 <= pixel_aspect <= 4:
        width *= float(pixel_aspect)
    scale = min(1.0, LONG_SIDE_PX / max(width, height))
    target = (max(2, round(width * scale)), max(2, round(height * scale)))
    converted = frame.reformat(width=target[0], height=target[1], format="rgb24", threads=1)  # PyAV's default: one per core, twice as dear
    rgb = np.asarray(converted.to_ndarray(), np.uint8)
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb

"""The picture of the demo call: a public-domain portrait seen by a webcam, and the forgery of its face. Everything here is seeded."""

from functools import cached_property
from typing import Any

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH_PX, HEIGHT_PX = 640, 360
CAPTION_PX = 30
ZOOM = 1.5  # portrait pixels → call pixels: the face is then about 137 px wide
FACE_XY = (224.0, 122.0)  # centre of the face in the 512 × 512 portrait; the numbers below are pixels of it as well
LIP_XY, LIP_HALF_WIDTH, LIP_SAG = (224.5, 140.8), 20.0, 8.7  # the line between upper teeth and lower lip is a parabola
CHIN_Y = 176.0
FORGED_FACE_PX = 40  # the "generator" draws the face at this resolution, as cheap face swaps do
Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Portrait:
    """NASA's portrait of an astronaut (public domain, ships inside scikit-image), still or forged."""

    def __init__(self) -> None:
        self.rgb: Picture = skimage.data.astronaut()  # type: ignore[no-untyped-call]
        rows, columns = np.mgrid[0 : self.rgb.shape[0], 0 : self.rgb.shape[1]].astype(np.float32)
        self._x, self._y = columns, rows

    def forged(self, mouth_open: float, time_s: float) -> Picture:
        """The same person with the jaw moved (`mouth_open` 0..1) and the inner face drawn anew, then blended in."""
        talking = self._open_mouth(self.rgb, mouth_open)
        drawn = self._redraw(talking, time_s)
        mask = self._face_mask[..., None]
        return _to_bytes(drawn * mask + talking.astype(np.float32) * (1 - mask))

    def _open_mouth(self, rgb: Picture, mouth_open: float) -> Picture:
        """Everything below the teeth moves down by up to 9 px, fading out under the chin; the gap becomes the inside of the mouth."""
        gap = 9.0 * mouth_open
        across = np.clip(1 - ((self._x - LIP_XY[0]) / LIP_HALF_WIDTH) ** 2, 0, 1)
        lip_y = LIP_XY[1] + LIP_SAG * across
        below = np.clip((self._y - lip_y) / 18.0, 0, 1)
        jaw = np.exp(-(((self._x - LIP_XY[0]) / 30.0) ** 2))
        fade = np.clip((CHIN_Y + 14 - self._y) / 24.0, 0, 1)
        down = gap * ((1 - below) * across + below * jaw) * fade * (self._y > lip_y)
        moved = cv2.remap(rgb, self._x, (self._y - down).astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        depth = (self._y - lip_y) / np.maximum(gap * across, 1e-3)
        inside = ((depth > 0) & (depth < 1) & (across > 0)).astype(np.float32) * min(1.0, gap / 2)
        inside = cv2.GaussianBlur(inside, (0, 0), 0.8)[..., None]
        cavity = np.array([62.0, 22.0, 24.0]) + 30 * np.clip(depth, 0, 1)[..., None] * np.array([1.0, 0.5, 0.5])
        return _to_bytes(moved * (1 - inside) + cavity * inside)

    def _redraw(self, rgb: Picture, time_s: float) -> Floats:
        """Down to the generator's resolution and up again, warmer, and trembling by a fraction of a pixel."""
        x0, y0, side = 168, 66, 116
        face = cv2.resize(rgb[y0 : y0 + side, x0 : x0 + side], (FORGED_FACE_PX, FORGED_FACE_PX), interpolation=cv2.INTER_AREA)
        shift = np.array([[1, 0, 0.5 * np.sin(9.1 * time_s)], [0, 1, 0.4 * np.sin(7.3 * time_s + 1)]], np.float32)
        face = cv2.warpAffine(face, shift, (FORGED_FACE_PX, FORGED_FACE_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        result = rgb.astype(np.float32)
        result[y0 : y0 + side, x0 : x0 + side] = large * [1.05, 1.0, 0.94] + [3, 0, -2]
        return result

    @cached_property
    def _face_mask(self) -> Floats:
        """1 on the inner face, with an edge of a few pixels: float32 [512, 512]."""
        mask = np.zeros(self.rgb.shape[:2], np.float32)
        cv2.ellipse(mask, ((224, 128), (80, 104), 0), 1.0, -1)
        return cv2.GaussianBlur(mask, (0, 0), 2.0).astype(np.float32)


class Webcam:
    """Slow drift of a hand-held camera, light that breathes, sensor noise."""

    def __init__(self, seed: int) -> None:
        self._noise = np.random.default_rng(seed)

    def see(self, portrait: Picture, time_s: float) -> Picture:
        """One frame of the call, uint8 [360, 640, 3], without its caption."""
        zoom = ZOOM * (1 + 0.02 * np.sin(0.37 * time_s))
        angle = 0.014 * np.sin(0.53 * time_s + 1) + 0.004 * np.sin(1.9 * time_s)
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        target = np.array(
            [
                WIDTH_PX / 2 + 7 * np.sin(0.41 * time_s) + 1.5 * np.sin(2.3 * time_s),
                HEIGHT_PX / 2 - 8 + 4 * np.sin(0.61 * time_s + 2) + np.sin(2.9 * time_s),
            ]
        )
        matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
        matrix[:, 2] = target - matrix[:, :2] @ FACE_XY
        frame = cv2.warpAffine(portrait, matrix, (WIDTH_PX, HEIGHT_PX), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        light = 0.93 + 0.03 * np.sin(0.29 * time_s) + 0.008 * np.sin(1.3 * time_s)
        noise = cv2.GaussianBlur(self._noise.normal(0, 3.2, frame.shape[:2]).astype(np.float32), (0, 0), 0.6)
        return _to_bytes(frame * light + noise[..., None])


def caption(frame: Picture, text: str, alarm: bool) -> Picture:
    """The frame with one line on a dark strip at its lower edge; a dot is red while something is forged."""
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, HEIGHT_PX - CAPTION_PX, WIDTH_PX, HEIGHT_PX), fill=(22, 24, 29))
    middle = HEIGHT_PX - CAPTION_PX // 2
    draw.ellipse((12, middle - 5, 22, middle + 5), fill=(222, 62, 54) if alarm else (72, 168, 104))
    draw.text((32, middle), text, fill=(236, 238, 242), font=ImageFont.load_default(15), anchor="lm")
    return np.asarray(image)


def _to_bytes(picture: NDArray[Any]) -> Picture:
    clipped: Picture = picture.clip(0, 255).astype(np.uint8)
    return clipped

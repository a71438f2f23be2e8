"""Pictures without faces: desktop wallpapers where Debian installs them, and renderings of our own that a weak detector takes for faces."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
WALLPAPERS = (Path("/usr/share/backgrounds"), Path("/usr/share/wallpapers"), Path("/usr/share/games/jigzo"))
"""Filled by: apt-get install plasma-workspace-wallpapers mate-backgrounds gnome-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
ukui-wallpapers jigzo-data sway-backgrounds"""
KEPT_PX = 960


def load_wallpapers(folders: Sequence[Path] = WALLPAPERS) -> list[Image]:
    """Every picture under the folders, RGB, shrunk to a long side of 960 px; near-copies (the same picture in several sizes) once."""
    pictures: list[Image] = []
    seen: set[bytes] = set()
    for path in sorted(file for folder in folders for file in folder.rglob("*") if file.suffix in {".jpg", ".jpeg", ".png", ".webp"}):
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None or min(bgr.shape[:2]) < 200:
            continue
        look = (cv2.resize(bgr, (6, 6), interpolation=cv2.INTER_AREA) // 24).tobytes()
        if look in seen:
            continue
        seen.add(look)
        factor = min(1.0, KEPT_PX / max(bgr.shape[:2]))
        small = cv2.resize(bgr, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        pictures.append(np.ascontiguousarray(small[:, :, ::-1], np.uint8))
    return pictures


def faceless(wallpapers: Sequence[Image], size_px: int, rng: np.random.Generator) -> Image:
    """A square picture without a face: a piece of a wallpaper (three in four when there are any) or a rendering."""
    if wallpapers and rng.random() < 0.75:
        return piece(wallpapers[int(rng.integers(len(wallpapers)))], size_px, rng)
    return rendering(size_px, rng)


def piece(picture: Image, size_px: int, rng: np.random.Generator) -> Image:
    """A square piece of random size of a picture, brought to `size_px`, sometimes mirrored or turned."""
    height, width = picture.shape[:2]
    side = int(min(height, width) * rng.uniform(0.25, 1.0))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    cut = picture[top : top + side, left : left + side]
    cut = np.rot90(cut, int(rng.integers(4))) if rng.random() < 0.3 else cut
    cut = cut[:, ::-1] if rng.random() < 0.5 else cut
    method = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(cut), (size_px, size_px), interpolation=method), np.uint8)


def rendering(size_px: int, rng: np.random.Generator) -> Image:
    """Gradient or clouds with stripes, writing, shapes or round things with dark dots on top."""
    picture = _clouds(size_px, rng) if rng.random() < 0.5 else _gradient(size_px, rng)
    for _ in range(int(rng.integers(0, 4))):
        _TOPPINGS[int(rng.integers(len(_TOPPINGS)))](picture, rng)
    return picture


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Any colour; one in three is like skin."""
    if rng.random() < 0.33:
        red = int(rng.integers(90, 245))
        return red, int(red * rng.uniform(0.6, 0.85)), int(red * rng.uniform(0.4, 0.75))
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def _gradient(size_px: int, rng: np.random.Generator) -> Image:
    ramp = np.linspace(0, 1, size_px, dtype=np.float32)
    share = ramp[:, None, None] * rng.uniform(0, 1) + ramp[None, :, None] * rng.uniform(0, 1)
    a, b = np.array(_colour(rng), np.float32), np.array(_colour(rng), np.float32)
    return np.asarray(np.clip(a + (b - a) * share, 0, 255), np.uint8)


def _clouds(size_px: int, rng: np.random.Generator) -> Image:
    """Noise of several sizes in two colours."""
    field = np.zeros((size_px, size_px), np.float32)
    for cells in (3, 7, 16, 40, 120):
        noise = rng.normal(size=(cells, cells)).astype(np.float32)
        field += cv2.resize(noise, (size_px, size_px), interpolation=cv2.INTER_CUBIC) * np.float32(rng.uniform(0, 1) / cells**0.3)
    share = (1 / (1 + np.exp(-2 * field)))[:, :, None]
    a, b = np.array(_colour(rng), np.float32), np.array(_colour(rng), np.float32)
    return np.asarray(a + (b - a) * share, np.uint8)


def _stripes(picture: Image, rng: np.random.Generator) -> None:
    size, step, colour = len(picture), int(rng.integers(6, 60)), _colour(rng)
    for at in range(-size, 2 * size, step):
        slant = int(rng.integers(0, 2)) * size
        cv2.line(picture, (at, 0), (at + slant, size), colour, int(rng.integers(1, max(2, step // 2))))


def _writing(picture: Image, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 12))):
        text = "".join(chr(int(code)) for code in rng.integers(33, 126, int(rng.integers(1, 16))))
        at = (int(rng.integers(-30, len(picture))), int(rng.integers(0, len(picture))))
        cv2.putText(
            picture, text, at, int(rng.integers(0, 8)), float(rng.uniform(0.3, 3)), _colour(rng), int(rng.integers(1, 5)), cv2.LINE_AA
        )


def _shapes(picture: Image, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 12))):
        corners = rng.integers(-40, len(picture) + 40, (int(rng.integers(3, 7)), 2)).astype(np.int32)
        cv2.fillPoly(picture, [corners], _colour(rng), cv2.LINE_AA)


def _dotted(picture: Image, rng: np.random.Generator) -> None:
    """Ellipses with two or more dark dots and bars: sockets, buttons, cars from the front."""
    for _ in range(int(rng.integers(1, 4))):
        x, y, radius = (int(value) for value in (rng.integers(0, len(picture)), rng.integers(0, len(picture)), rng.integers(10, 110)))
        cv2.ellipse(picture, (x, y), (radius, int(radius * rng.uniform(0.7, 1.5))), 0, 0, 360, _colour(rng), -1, cv2.LINE_AA)
        for _ in range(int(rng.integers(1, 7))):
            dx, dy = (int(value) for value in rng.uniform(-0.7, 0.7, 2) * radius)
            axes = (max(1, int(radius * rng.uniform(0.03, 0.25))), max(1, int(radius * rng.uniform(0.03, 0.2))))
            cv2.ellipse(picture, (x + dx, y + dy), axes, 0, 0, 360, tuple(v // 4 for v in _colour(rng)), -1, cv2.LINE_AA)


_TOPPINGS = (_stripes, _writing, _shapes, _dotted)

"""Augmentation of face crops, the same for a fake and its genuine counterpart, and fakes made on the spot with a free mask.

Blends follow the idea of self-blended images (Shiohara, Yamasaki 2022): a face, or its mouth or eyes, blended with a slightly different
copy of itself, with another moment of the same clip, or with a look-alike. All pictures here are wide crops, uint8 [160, 160, 3]; all
masks float32 [160, 160], 0..1.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.faces.crop import FACE_PX

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Draw = np.random.Generator
MAP_CELLS = 16


@dataclass(frozen=True)
class Degradation:
    """One draw of how a crop is cut and spoiled; applied alike to both crops of a couple."""

    matrix: NDArray[np.float64]
    flip: bool
    curve: Image  # [256, 3]: brightness, contrast, gamma and colour in one table
    resize: float
    blur_px: float
    noise_levels: float
    jpeg_quality: int


def draw_degradation(rng: Draw, margin_px: int) -> Degradation:
    """Gentle enough that the cues of a forgery survive: JPEG ≥ 65, resize ≥ 0.65, blur ≤ 0.7 px, noise ≤ 4 levels, each now and then.

    Harder ones (JPEG ≥ 55 on every second crop) left little to learn: unseen fakes no longer stood above their own originals.
    """
    shift = rng.normal(0, 1.2, 2)
    if rng.random() < 0.6:  # no second interpolation
        matrix = np.array([[1.0, 0, -margin_px + round(shift[0])], [0, 1.0, -margin_px + round(shift[1])]])
    else:
        centre = margin_px + FACE_PX / 2
        matrix = cv2.getRotationMatrix2D((centre, centre), rng.uniform(-5, 5), rng.uniform(0.94, 1.06)).astype(np.float64)
        matrix[:, 2] += shift - margin_px
    ramp = np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.8, 1.25)
    curve = (ramp - 0.5) * rng.uniform(0.8, 1.2) + 0.5 + rng.uniform(-0.08, 0.08) + rng.normal(0, 0.02, 3)
    return Degradation(
        matrix=matrix,
        flip=bool(rng.random() < 0.5),
        curve=np.clip(curve * 255, 0, 255).astype(np.uint8),
        resize=float(rng.uniform(0.65, 0.95)) if rng.random() < 0.2 else 1.0,
        blur_px=float(rng.uniform(0.3, 0.7)) if rng.random() < 0.1 else 0.0,
        noise_levels=float(rng.uniform(1, 4)) if rng.random() < 0.12 else 0.0,
        jpeg_quality=int(rng.integers(65, 96)) if rng.random() < 0.3 else 0,
    )


def degrade(wide: Image, how: Degradation, rng: Draw) -> Image:
    """The 128-px crop cut out of `wide` and spoiled as `how` says."""
    crop = cv2.warpAffine(wide, how.matrix, (FACE_PX, FACE_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if how.flip:
        crop = crop[:, ::-1]
    crop = cv2.LUT(np.ascontiguousarray(crop), how.curve[None])
    return spoil(crop.astype(np.uint8), how.resize, how.blur_px, how.noise_levels, how.jpeg_quality, rng)


def spoil(picture: Image, resize: float, blur_px: float, noise_levels: float, jpeg_quality: int, rng: Draw) -> Image:
    """Shrunk and enlarged again, blurred, made noisy, compressed; 1.0 and 0 leave each step out."""
    size = (picture.shape[1], picture.shape[0])
    if resize < 1.0:
        small = cv2.resize(picture, None, fx=resize, fy=resize, interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    if blur_px > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), blur_px).astype(np.uint8)
    if noise_levels > 0:
        noise = rng.standard_normal(picture.shape, np.float32) * noise_levels
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if jpeg_quality > 0:
        coded = cv2.imencode(".jpg", np.ascontiguousarray(picture[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])[1]
        picture = np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1])
    return picture


def cut_map(mask: NDArray[np.floating], how: Degradation) -> Floats:
    """The mask [160, 160] as the 16×16 map of the crop that `how` cuts: share of each cell that was changed."""
    cut = cv2.warpAffine(mask, how.matrix, (FACE_PX, FACE_PX), flags=cv2.INTER_LINEAR)
    cells = np.clip(cv2.resize(cut, (MAP_CELLS, MAP_CELLS), interpolation=cv2.INTER_AREA), 0, 1).astype(np.float32)
    return cells[:, ::-1].copy() if how.flip else cells


def region_mask(rng: Draw, kind: str, side_px: int) -> Floats:
    """A soft, irregular region of an aligned wide crop: "face", "mouth" or "eyes"."""
    x, y, half_w, half_h = {"face": (0.5, 0.53, 0.25, 0.32), "mouth": (0.5, 0.66, 0.15, 0.11), "eyes": (0.5, 0.405, 0.22, 0.085)}[kind]
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    wobble = 1 + 0.12 * np.convolve(np.tile(rng.normal(0, 1, 16), 3), [0.25, 0.5, 0.25], "same")[16:32]
    grow = rng.uniform(0.8, 1.2, 2)
    outline = np.stack(
        [
            x + half_w * grow[0] * wobble * np.cos(angles) + rng.normal(0, 0.01),
            y + half_h * grow[1] * wobble * np.sin(angles) + rng.normal(0, 0.01),
        ],
        axis=1,
    )
    mask = np.zeros((side_px, side_px), np.float32)
    cv2.fillPoly(mask, [np.round(outline * side_px).astype(np.int32)], 1.0)
    return cv2.GaussianBlur(mask, (0, 0), rng.uniform(1.0, 6.0) * side_px / 160).astype(np.float32)


def blend(genuine: Image, donor: Image | None, kind: str, rng: Draw, coarse: bool = True) -> tuple[Image, Floats]:
    """A fake made of `genuine` and a region of `donor` (None: of itself, slightly changed), and the region.

    `coarse`: the region loses quality against its surroundings, as what comes out of most generators does.
    """
    mask = region_mask(rng, kind, genuine.shape[0])
    source = _changed(genuine if donor is None else like(donor, genuine, mask), rng, strong=donor is None)
    if coarse:
        source = coarsened(source, rng)
    weight = (mask * rng.choice([0.75, 1.0, 1.0]))[..., None]
    mixed = source.astype(np.float32) * weight + genuine.astype(np.float32) * (1 - weight)
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8), mask


def coarsened(picture: Image, rng: Draw) -> Image:
    """A copy that was shrunk and enlarged, blurred or compressed."""
    how = rng.random()
    return spoil(
        picture,
        resize=float(rng.uniform(0.4, 0.85)) if how < 0.6 else 1.0,
        blur_px=float(rng.uniform(0.4, 1.2)) if 0.6 <= how < 0.85 else 0.0,
        noise_levels=0.0,
        jpeg_quality=int(rng.integers(50, 90)) if how >= 0.7 else 0,
        rng=rng,
    )


def like(donor: Image, target: Image, mask: Floats) -> Image:
    """`donor` with the colour and contrast that `target` has inside the mask."""
    inside = mask > 0.5
    if not inside.any():
        return donor
    theirs, ours = donor[inside].astype(np.float32), target[inside].astype(np.float32)
    gain = np.clip(ours.std(0) / np.maximum(theirs.std(0), 1.0), 0.6, 1.6)
    return np.asarray(np.clip((donor.astype(np.float32) - theirs.mean(0)) * gain + ours.mean(0), 0, 255), np.uint8)


def _changed(picture: Image, rng: Draw, strong: bool) -> Image:
    """A copy a little off in place and colour."""
    side = picture.shape[0]
    matrix = np.asarray(cv2.getRotationMatrix2D((side / 2, side / 2), rng.normal(0, 0.8), 1 + rng.normal(0, 0.012)), np.float64)
    matrix[:, 2] += rng.normal(0, 0.8, 2)
    moved = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    spread = 0.06 if strong else 0.03
    tinted = moved.astype(np.float32) * rng.normal(1, spread, 3) + rng.normal(0, 255 * spread / 3, 3)
    return np.clip(tinted, 0, 255).astype(np.uint8)

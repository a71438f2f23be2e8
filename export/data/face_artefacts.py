"""What generators leave in a picture: traces of up-samplers, of patches coded coarsely, of colour coded coarsely.

Each function takes an aligned wide crop (uint8 [160, 160, 3] RGB) whole and returns one of the same shape; a mask decides later how much
of it is used.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

from export.data.face_augment import Draw, Image

Artefact = Callable[[Image, Draw], Image]


def upsampled(picture: Image, rng: Draw) -> Image:
    """One of the up-sampler traces."""
    traces: list[Artefact] = [stepped, transposed, shuffled, peaked, notched]
    return traces[int(rng.integers(len(traces)))](picture, rng)


def quantised(picture: Image, rng: Draw) -> Image:
    """One of the coarse codings."""
    traces: list[Artefact] = [dct_quantised, patch_quantised, colour_quantised]
    return traces[int(rng.integers(len(traces)))](picture, rng)


def _mixed(picture: Image, changed: NDArray[Any], share: float) -> Image:
    return np.clip(picture * np.float32(1 - share) + changed * np.float32(share) + np.float32(0.5), 0, 255).astype(np.uint8)


def stepped(picture: Image, rng: Draw) -> Image:
    """Half or a quarter of the side, enlarged by nearest neighbour, then one random 3×3 filter, as a decoder's last convolution."""
    factor = int(rng.choice([2, 2, 4]))
    side = picture.shape[0]
    small = cv2.resize(picture, (side // factor, side // factor), interpolation=cv2.INTER_AREA)
    large = np.repeat(np.repeat(small, factor, 0), factor, 1).astype(np.float32)
    kernel = np.array([0.15, 0.7, 0.15]) + rng.normal(0, 0.06, (3, 3))
    return _mixed(picture, cv2.filter2D(large, -1, (kernel / kernel.sum()).astype(np.float32)), rng.uniform(0.6, 1.0))


def transposed(picture: Image, rng: Draw) -> Image:
    """A stride-2 transposed convolution whose overlaps do not add up to the same weight everywhere (Odena 2016): a checkerboard."""
    side = picture.shape[0]
    large = np.zeros(picture.shape, np.float32)
    large[::2, ::2] = cv2.resize(picture, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
    taps = [np.array([0.5 + rng.normal(0, 0.05), 1.0, 0.5 + rng.normal(0, 0.05)], np.float32) for _ in range(2)]
    return _mixed(picture, cv2.sepFilter2D(large, -1, taps[0], taps[1]), rng.uniform(0.6, 1.0))


def shuffled(picture: Image, rng: Draw) -> Image:
    """Pixel shuffle: the phases of a 2×2, 4×4 or 8×8 grid differ a little in gain and level."""
    phase = int(rng.choice([2, 4, 8]))
    strength = rng.uniform(0.02, 0.06)
    tiles = (-(-picture.shape[0] // phase),) * 2
    gain = np.tile(rng.normal(1, strength, (phase, phase)), tiles)[: picture.shape[0], : picture.shape[1], None]
    level = np.tile(rng.normal(0, 60 * strength, (phase, phase)), tiles)[: picture.shape[0], : picture.shape[1], None]
    return _mixed(picture, (picture * gain + level).astype(np.float32), 1.0)


def peaked(picture: Image, rng: Draw) -> Image:
    """Waves at the frequencies at which up-samplers repeat the spectrum (1/2, 1/4, 1/8 of the sampling rate), stronger in the light."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    wave = np.zeros(picture.shape[:2], np.float32)
    for _ in range(int(rng.integers(1, 4))):
        fy, fx = rng.choice([0, 1 / 8, 1 / 4, 1 / 2], 2)
        wave += np.float32(rng.uniform(2.0, 6.0)) * np.cos(
            2 * np.pi * (np.float32(fy) * y + np.float32(fx) * x) + np.float32(rng.uniform(0, 3))
        )
    bright = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 160
    return _mixed(picture, picture + (wave * bright)[..., None] * rng.normal(1, 0.2, 3).astype(np.float32), 1.0)


def notched(picture: Image, rng: Draw) -> Image:
    """A ring of frequencies nearly taken out, as generators that never learnt them."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    spectrum = np.fft.rfft2(luma)
    radius = np.hypot(np.fft.fftfreq(luma.shape[0])[:, None], np.fft.rfftfreq(luma.shape[1])[None])
    ring = np.exp(-(((radius - rng.uniform(0.15, 0.42)) / rng.uniform(0.03, 0.08)) ** 2))
    lost = np.fft.irfft2(spectrum * ring * rng.uniform(0.7, 1.0), luma.shape).astype(np.float32)
    return _mixed(picture, picture - lost[..., None], 1.0)


def dct_quantised(picture: Image, rng: Draw) -> Image:
    """Blocks of 4 to 16 px, off the grid of JPEG, kept as few coarse cosine coefficients."""
    block = int(rng.choice([4, 8, 10, 16]))
    shift = tuple(int(each) for each in rng.integers(0, block, 2))
    rolled = np.roll(picture, shift, (0, 1)).astype(np.float32)
    count = picture.shape[0] // block
    cells = dctn(rolled.reshape(count, block, count, block, 3), axes=(1, 3), norm="ortho")
    order = np.add.outer(np.arange(block), np.arange(block))[None, :, None, :, None] / block
    step = np.float32(rng.uniform(6, 16)) * (0.4 + order).astype(np.float32)
    kept = np.round(cells / step) * step
    kept[:, 0, :, 0] = cells[:, 0, :, 0]
    back = idctn(kept, axes=(1, 3), norm="ortho").reshape(picture.shape)
    return _mixed(picture, np.roll(back, (-shift[0], -shift[1]), (0, 1)), 1.0)


def patch_quantised(picture: Image, rng: Draw) -> Image:
    """Patches of 4 or 5 px, each the nearest of a small codebook of patches of the same picture (a vector quantiser without its net)."""
    side, entries = int(rng.choice([4, 5])), int(rng.choice([64, 128, 256]))
    count = picture.shape[0] // side
    patches = picture.reshape(count, side, count, side, 3).transpose(0, 2, 1, 3, 4).reshape(count * count, -1).astype(np.float32)
    mean = patches.mean(1, keepdims=True)
    patches -= mean
    book = patches[rng.choice(len(patches), entries, replace=False)]
    nearest = ((book**2).sum(1) - 2 * patches @ book.T).argmin(1)
    coded = (book[nearest] + mean).reshape(count, count, side, side, 3).transpose(0, 2, 1, 3, 4).reshape(picture.shape)
    return _mixed(picture, coded, rng.uniform(0.5, 1.0))


def colour_quantised(picture: Image, rng: Draw) -> Image:
    """Colour at an eighth of the side, in few levels and a pixel or two off, as latents that spend little on it."""
    luma_chroma = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
    side, factor = picture.shape[0], int(rng.choice([4, 8]))
    chroma = cv2.resize(luma_chroma[..., 1:], (side // factor, side // factor), interpolation=cv2.INTER_AREA).astype(np.float32)
    step = rng.uniform(3, 9)
    coarse = cv2.resize(np.round(chroma / step).astype(np.float32) * np.float32(step), (side, side), interpolation=cv2.INTER_LINEAR)
    shift = [int(each) for each in rng.integers(-2, 3, 2)]
    luma_chroma[..., 1:] = np.clip(np.roll(coarse, shift, (0, 1)) + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(luma_chroma, cv2.COLOR_YCrCb2RGB), np.uint8)

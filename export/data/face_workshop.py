"""Labelled fakes out of genuine face crops: one call, `forge`, seeded by the generator it is given.

Crops are aligned wide crops, uint8 [160, 160, 3] RGB (see `faces`); masks float32 [160, 160], 0..1, the weight of the forged picture.
Every kind is brought to the softness of what it replaces (`levelled`): being softer or sharper must not mean being forged. What `blend`
of `face_augment` makes, regions that lost quality, is not repeated here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.face_artefacts import quantised, upsampled
from export.data.face_augment import Draw, Floats, Image, like, spoil
from export.data.face_autoencoder import UPSAMPLERS, reconstructed
from export.data.face_regions import border_matched, draw_region, flow_between, moved, random_flow

KINDS = {"swap": 0.26, "mouth": 0.22, "reanimation": 0.20, "upsampler": 0.10, "quantised": 0.08, "autoencoder": 0.14}
FACE_SHARES = {"hull": 0.6, "features": 0.25, "face": 0.15}
MOUTH_SHARES = {"mouth": 0.35, "lower": 0.4, "box": 0.25}
ANY_SHARES = {"hull": 0.35, "head": 0.2, "whole": 0.15, "lower": 0.1, "mouth": 0.1, "eyes": 0.1}
WARP_SHARES = {"head": 0.4, "hull": 0.25, "whole": 0.2, "lower": 0.15}
HIGH_PASS_PX = 0.8
LAPLACIAN_OF_NOISE = 20.0  # variance of the Laplacian (1, 1, −4, 1, 1) of white noise of variance 1


@dataclass(frozen=True)
class Donors:
    """Where the forged part of one picture comes from; None where there is nobody.

    `moment`: the same person at another moment; `other`: somebody who looks alike; `still`: the one picture that a re-animation moves, the
    same for all pictures of a clip (without it each picture's own `moment`, or itself).
    """

    moment: Image | None = None
    other: Image | None = None
    still: Image | None = None


def forge(kind: str, genuine: Image, donors: Donors, rng: Draw) -> tuple[Image, Floats]:
    """A fake of `kind` (of KINDS) made from `genuine`, and its mask; where the mask is 0 the fake is `genuine`, byte for byte.

    A donor that is missing is replaced by the other one, at last by `genuine` itself, warped. "autoencoder" raises PoolError before
    `python -m export.data.face_autoencoder` was run. The same state of `rng` gives the same region, shape and traces on every picture of a
    clip, so that a clip can be forged picture by picture.
    """
    fakes, mask = forge_alike(kind, genuine[None], [donors], rng)
    return fakes[0], mask


def forge_alike(kind: str, genuine: Image, donors: Sequence[Donors], rng: Draw) -> tuple[Image, Floats]:
    """`forge` for pictures [n, 160, 160, 3] that follow each other: one region, one draw, one sharpness; their grain flickers no more than
    the detail of `genuine` does."""
    state = rng.bit_generator.state
    sources = []
    for picture, theirs in zip(genuine, donors, strict=True):
        rng.bit_generator.state = state
        source, mask = _MAKERS[kind](picture, theirs, rng)
        sources.append(source)
    weight = mask[..., None]
    mixed = levelled(np.stack(sources), genuine, mask, rng) * weight + genuine * (1 - weight)
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8), mask


def most_alike(genuine: Image, candidates: Sequence[Image]) -> int:
    """Index of the candidate whose inner face, seen coarsely and without its mean, is nearest: about the same pose and light."""
    coarse = np.stack([cv2.resize(each[48:132, 44:116], (9, 10), interpolation=cv2.INTER_AREA) for each in (genuine, *candidates)])
    pattern = coarse.astype(np.float32) - coarse.mean((1, 2), keepdims=True)
    return int(np.abs(pattern[1:] - pattern[0]).mean((1, 2, 3)).argmin())


def levelled(sources: Image, targets: Image, mask: Floats, rng: Draw) -> Floats:
    """`sources` [n, 160, 160, 3] with about as much fine detail inside the mask as `targets` have there, all by the same measures: their
    high-pass is scaled, and grain put in where it is too little, of which as much stays from picture to picture as stays of `targets`."""
    wanted = _detail(targets, mask) * float(np.exp(rng.normal(0, 0.15)))
    out = sources.astype(np.float32)
    for least, most in ((0.2, 2.5), (0.2, 1.0)):  # once more where it is still too sharp
        gain = float(np.clip(wanted / max(_detail(out, mask), 1e-3), least, most))
        if abs(gain - 1) > 0.02:
            out += np.stack([picture - cv2.GaussianBlur(picture, (0, 0), HIGH_PASS_PX) for picture in out]) * np.float32(gain - 1)
    missing = wanted**2 - _detail(out, mask) ** 2
    seed = int(rng.integers(2**31))
    if missing > 0:
        stays = _staying(targets, mask)
        steady = np.random.default_rng(seed).standard_normal((*mask.shape, 1), np.float32) * np.float32(np.sqrt(stays))
        for index, target in enumerate(targets):
            own = np.random.default_rng([seed, crc32(target[::4, ::4].tobytes())])  # another on every picture, as a camera's
            grain = steady + own.standard_normal((*mask.shape, 1), np.float32) * np.float32(np.sqrt(1 - stays))
            out[index] += grain * np.float32(np.sqrt(missing / LAPLACIAN_OF_NOISE))
    return out


def _detail(pictures: Image | Floats, mask: Floats) -> float:
    """Root mean square of the Laplacian of their brightness inside the mask."""
    power = [(_fine(picture) ** 2 * mask).sum() for picture in pictures]
    return float(np.sqrt(np.mean(power) / mask.sum()))


def _staying(pictures: Image, mask: Floats) -> float:
    """Share 0..1 of the fine detail inside the mask that the first and the last picture have in common; 0 of a single one."""
    if len(pictures) < 2:
        return 0.0
    first, last = _fine(pictures[0]), _fine(pictures[-1])
    power = float(np.sqrt((first**2 * mask).sum() * (last**2 * mask).sum()))
    return float(np.clip((first * last * mask).sum() / max(power, 1e-6), 0, 1))


def _fine(picture: Image | Floats) -> Floats:
    return np.asarray(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F), np.float32)


def _fitted(donor: Image, genuine: Image, mask: Floats, rng: Draw) -> Image:
    """The donor's colours brought to the target's: by mean and contrast, along the edge of the mask, or both."""
    way = rng.random()
    if way < 0.75:
        donor = like(donor, genuine, mask)
    return border_matched(donor, genuine, mask) if way > 0.35 else donor


def _swap(genuine: Image, donors: Donors, rng: Draw) -> tuple[Image, Floats]:
    """Somebody else's inner face, its features moved onto the target's by smoothed optical flow, as a warp between landmarks would."""
    mask = draw_region(rng, FACE_SHARES)
    donor = donors.other if donors.other is not None else donors.moment
    if donor is None:
        return moved(genuine, random_flow(rng, rng.uniform(1.5, 3.5))), mask
    fitted = like(donor, genuine, mask)
    flow = flow_between(fitted, genuine, most_px=6.0, smooth_px=float(rng.uniform(4, 9))) + random_flow(rng, rng.uniform(0.3, 1.5))
    return _fitted(moved(donor, flow, _interpolation(rng)), genuine, mask, rng), mask


def _mouth(genuine: Image, donors: Donors, rng: Draw) -> tuple[Image, Floats]:
    """The mouth or lower face of another moment (two in three) or of somebody else."""
    mask = draw_region(rng, MOUTH_SHARES)
    choices = [donor for donor in (donors.moment, donors.moment, donors.other) if donor is not None]
    if not choices:
        return moved(genuine, random_flow(rng, rng.uniform(2, 4))), mask
    donor = choices[int(rng.integers(len(choices)))]
    donor = moved(donor, random_flow(rng, rng.uniform(0.3, 1.2)), _interpolation(rng))
    return _fitted(donor, genuine, mask, rng), mask


def _reanimation(genuine: Image, donors: Donors, rng: Draw) -> tuple[Image, Floats]:
    """A still driven by motion: warped to `genuine` by optical flow, and a little more at random; some detail is lost."""
    mask = draw_region(rng, WARP_SHARES)
    still = next((picture for picture in (donors.still, donors.moment) if picture is not None), genuine)
    flow = random_flow(rng, rng.uniform(1.0, 4.0)) + flow_between(still, genuine, most_px=14.0, smooth_px=float(rng.uniform(1.5, 4)))
    driven = moved(still, flow, _interpolation(rng))
    driven = border_matched(driven, genuine, mask) if mask.min() < 0.5 else driven
    return spoil(driven, float(rng.uniform(0.5, 1.0)), 0.0, 0.0, 0, rng), mask


def _upsampler(genuine: Image, donors: Donors, rng: Draw) -> tuple[Image, Floats]:
    mask = draw_region(rng, ANY_SHARES)
    return upsampled(genuine, rng), mask


def _quantised(genuine: Image, donors: Donors, rng: Draw) -> tuple[Image, Floats]:
    mask = draw_region(rng, ANY_SHARES)
    return quantised(genuine, rng), mask


def _autoencoder(genuine: Image, donors: Donors, rng: Draw) -> tuple[Image, Floats]:
    """This face, or half of the time one swapped, re-animated or given another mouth, as a small autoencoder remembers it."""
    way = rng.random()
    if way < 0.5:
        source, mask = genuine, draw_region(rng, ANY_SHARES)
    else:
        source, mask = (_swap, _mouth, _reanimation)[int((way - 0.5) * 6)](genuine, donors, rng)
    rows, columns = (_span(mask.max(axis) > 0) for axis in (1, 0))
    source = source.copy()
    source[rows, columns] = reconstructed(source[None, rows, columns], str(rng.choice(UPSAMPLERS)))[0]
    return source, mask


def _span(used: NDArray[np.bool_]) -> slice:
    """From the first to the last used pixel with 8 px around, to multiples of 8 px."""
    at = np.flatnonzero(used)
    return slice(max(0, int(at[0]) // 8 * 8 - 8), min(len(used), int(at[-1]) // 8 * 8 + 16))


def _interpolation(rng: Draw) -> int:
    return int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))


_MAKERS: dict[str, Callable[[Image, Donors, Draw], tuple[Image, Floats]]] = {
    "swap": _swap,
    "mouth": _mouth,
    "reanimation": _reanimation,
    "upsampler": _upsampler,
    "quantised": _quantised,
    "autoencoder": _autoencoder,
}

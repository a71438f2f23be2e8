"""Puts the two closed-form discriminants into a face net: fitted on the training rows of the face cache in about five minutes."""

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn

from export.data.face_augment import degrade, draw_degradation
from export.data.faces import MARGIN_PX, FaceCache
from export.fisher import Material, Weights, discriminant
from export.nets.face import FaceNet, appearance, standardise, texture

BATCH = 32
STILLS_SHARE = 1.0  # of appearance, pairs of `stills` (DFDC, inswapper): few generators, but far more people than the pairs of `wild`
WORN_EVERY = 3  # every third genuine crop is also seen degraded
Numbers = NDArray[np.float64]


def put_in_discriminants(net: FaceNet, cache: FaceCache, train: list[int], seed: int) -> None:
    """Fit `from_appearance` and `from_texture` on the training rows; the rest of the net stays as it is."""
    rows = cache.rows
    genuine = [i for i in train if not rows[i].fake]
    pairs = [i for i in train if rows[i].fake and rows[i].origin >= 0 and rows[i].pool == "wild"]
    inside = set(train)
    stills = [i for i in train if rows[i].fake and rows[i].origin in inside and rows[i].pool == "stills"]
    alone = [i for i in train if rows[i].fake and rows[i].origin < 0 and rows[i].pool == "wild"]
    base = [i for i in genuine if rows[i].pool == "wild"]
    rng = np.random.default_rng(seed)
    clean = dict(zip(train, _numbers(net, cache, train, None), strict=True))
    worn_rows = genuine[::WORN_EVERY]
    worn = _numbers(net, cache, worn_rows, rng)
    split = len(next(iter(clean.values()))) - net.from_texture.in_features
    for read_out, part, counts in (
        (net.from_appearance, slice(0, split), Weights(ridge=0.3, alone=0.5, more=STILLS_SHARE)),
        (net.from_texture, slice(split, None), Weights(ridge=0.05)),
    ):
        of = {i: numbers[part] for i, numbers in clean.items()}
        material = Material(
            genuine=np.array([of[i] for i in genuine]),
            worn=np.array([spoiled[part] - of[i] for i, spoiled in zip(worn_rows, worn, strict=True)]),
            pairs=np.array([of[i] - of[rows[i].origin] for i in pairs]),
            pair_generators=[rows[i].generator for i in pairs],
            alone=np.array([of[i] for i in alone]),
            alone_generators=[rows[i].generator for i in alone],
            base=np.array([of[i] for i in base]),
            more_pairs=np.array([of[i] - of[rows[i].origin] for i in stills]),
        )
        _set(read_out, *discriminant(material, counts))


def _set(read_out: nn.Linear, weight: Numbers, bias: float) -> None:
    with torch.no_grad():
        read_out.weight.copy_(torch.from_numpy(weight)[None])
        read_out.bias.fill_(bias)


@torch.no_grad()
def _numbers(net: FaceNet, cache: FaceCache, rows: list[int], wear: np.random.Generator | None) -> Numbers:
    """[rows, numbers of appearance, then of texture]; degraded by draws from `wear` if given."""
    out = []
    for start in track(range(0, len(rows), BATCH), "numbers of worn faces" if wear else "numbers of faces"):
        shots = np.stack([_cut(cache, row, wear) for row in rows[start : start + BATCH]]).transpose(1, 0, 4, 2, 3)
        face, earlier = (torch.from_numpy(each.astype(np.float32)).contiguous(memory_format=torch.channels_last) for each in shots)
        out.append(torch.cat([appearance(*net.backbone(standardise(face))), texture(face, earlier)], dim=1).numpy())
    return np.concatenate(out).astype(np.float64)


def _cut(cache: FaceCache, row: int, wear: np.random.Generator | None) -> NDArray[np.uint8]:
    shot = cache.shot(row)
    if wear is None:
        return shot[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    how = draw_degradation(wear, MARGIN_PX)
    return np.stack([degrade(picture, how, wear) for picture in shot])

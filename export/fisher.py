"""Fisher's discriminant for forgeries that stand beside their originals: one solved equation instead of a training run.

The direction in which fakes differ from their own originals, measured against everything that genuine faces differ in (people, pages,
cameras), against how unlike the fakes are among themselves, and against what a bad call does to a picture. A net trained on the same clips
learns the people; over four folds of unseen generators this ranks better (docs/evaluation.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.data.pool import even_shares

Floats = NDArray[np.float64]
LEAST_SPREAD = 0.02  # a number that hardly ever moves must not decide when it does


@dataclass(frozen=True)
class Material:
    """Numbers [rows, d] of training crops.

    `genuine`; `worn`: the change that degradation makes to genuine crops; `pairs`: fake minus its own original, with its generator's name;
    `alone`: fakes without an original, with theirs; `base`: genuine crops of the same folder, against which these are held; `more_pairs`:
    pairs of another folder, of few generators and many people; `genuine_pages`: where each genuine crop is from, if the pages' own looks
    (camera, codec, light) are to count evenly in what genuine faces differ in: a page of n weighs √n.
    """

    genuine: Floats
    worn: Floats
    pairs: Floats
    pair_generators: Sequence[str]
    alone: Floats
    alone_generators: Sequence[str]
    base: Floats
    more_pairs: Floats | None = None
    genuine_pages: Sequence[str] | None = None


@dataclass(frozen=True)
class Weights:
    """How much counts what. `alone`, `more`: fakes without an original, and `more_pairs`, beside the pairs; `ridge`: variance added to each
    standardised number; `wear`: what a bad call does to a number; `unlike`: how differently fakes differ
    from their originals. Pairs come from few generators, and what these do not share is no mark of forgery: a large `unlike` leaves what
    all of them do.
    """

    ridge: float
    alone: float = 0.0
    more: float = 0.0
    wear: float = 0.3
    unlike: float = 1.0


def discriminant(of: Material, counts: Weights) -> tuple[Floats, float]:
    """(weight [d], bias): the score of genuine crops has mean 0 and deviation 1."""
    centre, spread = of.genuine.mean(0), np.maximum(of.genuine.std(0), LEAST_SPREAD)
    pairs, worn = of.pairs / spread, of.worn / spread
    shares = None if of.genuine_pages is None else even_shares(of.genuine_pages)
    noise = np.cov(of.genuine.T / spread[:, None], aweights=shares) + counts.unlike * np.cov(pairs.T)
    noise += counts.wear * (worn.T @ worn) / max(1, len(worn))
    lean = even_shares(of.pair_generators) @ pairs
    if counts.more and of.more_pairs is not None and len(of.more_pairs) > 1:
        more = of.more_pairs / spread
        noise, lean = noise + counts.more * np.cov(more.T), lean + counts.more * more.mean(0)
    if counts.alone:
        lean = lean + counts.alone * (even_shares(of.alone_generators) @ (of.alone / spread) - (of.base / spread).mean(0))
    weight = np.linalg.solve(noise + counts.ridge * np.eye(len(noise)), lean) / spread
    weight /= (of.genuine @ weight).std() + 1e-9
    return weight, float(-centre @ weight)

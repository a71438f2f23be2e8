"""Speech units: clusters of short stretches of clean speech, what the recogniser learns (HuBERT, arXiv 2106.07447, first round)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float32]
UNITS = 96
CEPSTRA = 14
FRAMES = 4  # of the spectrogram, one step of 40 ms
SAMPLE = 60_000


@dataclass(frozen=True)
class Units:
    """k-means centres [96, 56] in standardised cepstra."""

    centres: Floats
    spread: Floats

    def of(self, mel: Floats) -> NDArray[np.uint8]:
        """The unit of each 40 ms of one clip's clean log_mel [4 T, 64]: uint8 [T]."""
        points = _cepstra(mel) / self.spread
        distance = (self.centres**2).sum(1)[None] - 2 * points @ self.centres.T
        nearest: NDArray[np.uint8] = distance.argmin(1).astype(np.uint8)
        return nearest


def fit_units(mels: Sequence[Floats], seed: int = 0, rounds: int = 25) -> Units:
    """k-means on the cepstra of clean clips (log_mel [4 T, 64] each)."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([_cepstra(mel) for mel in mels])
    points = points[rng.permutation(len(points))[:SAMPLE]]
    spread: Floats = (points.std(0) + 1e-3).astype(np.float32)
    points = points / spread
    centres = points[rng.choice(len(points), UNITS, replace=False)]
    for _ in range(rounds):
        nearest = ((centres**2).sum(1)[None] - 2 * points @ centres.T).argmin(1)
        counts = np.bincount(nearest, minlength=UNITS)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, points)
        empty = counts == 0
        centres = np.where(empty[:, None], points[rng.choice(len(points), UNITS)], sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    return Units(centres.astype(np.float32), spread)


def _cepstra(mel: Floats) -> Floats:
    """[T, 56]: of every step four frames of cepstra, without the clip's mean, which is the microphone and much of the speaker."""
    cepstra = fft.dct(mel.astype(np.float32), axis=1, norm="ortho")[:, :CEPSTRA]
    steps = len(cepstra) // FRAMES
    centred: Floats = (cepstra - cepstra.mean(0)).astype(np.float32)
    return centred[: steps * FRAMES].reshape(steps, FRAMES * CEPSTRA)

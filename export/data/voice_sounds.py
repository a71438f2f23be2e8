"""Batches of sound for the speech encoder: fakes with as many genuine clips, and copies beside their originals."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.data.pool import Row
from export.data.sound import cut, roughen
from export.data.voice_copies import Copies
from export.data.voice_rows import VoiceRows
from export.data.voices import Voices
from monitor.speech.features import fixed_rms

Floats = NDArray[np.float32]
BATCH_FAKES, BATCH_PAIRS = 10, 8
WORN_SHARE, ROUGH_SHARE = 0.6, 0.6  # how often a clip alone comes through its codec; how often clips pass a room, a filter, noise


@dataclass(frozen=True)
class SoundBatch:
    """`samples` [n, length] at fixed RMS: fakes, then as many genuine clips, then `pairs` originals, then their copies in the same order.
    `label` [n], 1 = generated; `rivals` [fakes]: whose genuine partner is of the fake's own source.
    """

    samples: torch.Tensor
    label: torch.Tensor
    rivals: torch.Tensor
    pairs: int


class SoundDraw:
    """Endless batches of stretches of `length` samples. A copy is cut and roughened exactly as the original beside it."""

    def __init__(self, voices: Voices, talk: Voices, copies: Copies, length: int, rng: np.random.Generator) -> None:
        self._copies, self._length, self._rng = copies, length, rng
        self._rows = VoiceRows(voices.train, talk.train, copies.train, rng)
        self._whose = {row["file"]: each for each in (voices, talk) for row in each.train}

    def batch(self) -> SoundBatch:
        fakes = self._rows.fakes(BATCH_FAKES)
        partners = [self._rows.partner(fake) for fake in fakes]
        pairs = [self._pair() for _ in range(BATCH_PAIRS if self._rows.copies else 0)]
        sounds = [self._alone(row) for row in fakes + partners]
        sounds += [original for original, _ in pairs] + [copy for _, copy in pairs]
        label = [1.0] * len(fakes) + [0.0] * (len(partners) + len(pairs)) + [1.0] * len(pairs)
        rivals = [fake["source"] == partner["source"] for fake, partner in zip(fakes, partners, strict=True)]
        return SoundBatch(torch.from_numpy(np.stack(sounds)), torch.tensor(label), torch.tensor(rivals), len(pairs))

    def _alone(self, row: Row) -> Floats:
        rng = self._rng
        sound = self._whose[row["file"]].samples(row, bool(rng.random() < WORN_SHARE))
        sound = fixed_rms(cut(sound, self._length, rng))
        return fixed_rms(roughen(sound, rng)) if rng.random() < ROUGH_SHARE else sound

    def _pair(self) -> tuple[Floats, Floats]:
        rng, row = self._rng, self._rows.copy()
        both = self._whose[row["original"]].samples({"file": row["original"]}, worn=True), self._copies.samples(row)
        shorter = min(map(len, both))
        start, seed, rough = int(rng.integers(0, max(1, shorter - self._length + 1))), int(rng.integers(2**31)), rng.random() < ROUGH_SHARE
        cuts = [fixed_rms(cut(sound[start:shorter][: self._length], self._length, rng)) for sound in both]
        if rough:
            cuts = [fixed_rms(roughen(sound, np.random.default_rng(seed))) for sound in cuts]
        return cuts[0], cuts[1]

"""Batches for the voice net: fakes with as many genuine clips, copies beside their originals, and genuine clips with a forged stretch."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.data.pool import Row
from export.data.voice_pack import Bytes, Channel, Distort, SpectrumPack, at_speed
from export.data.voice_rows import VoiceRows
from export.data.voices import Voices

Floats = NDArray[np.float32]
BATCH_FAKES, BATCH_PAIRS, BATCH_SPLICES = 8, 8, 4  # fakes with as many genuine clips; original and copy; genuine with a forged stretch
SPEED_SHARE, SPEEDS = 0.5, (0.88, 1.14)  # how often, and between what, a clip is played slower or faster, its pitch with it
LENGTHS, LENGTH_SHARES = (120, 160, 240), (0.65, 0.2, 0.15)  # frames of 10 ms: short ones cost half and teach as much


@dataclass(frozen=True)
class Data:
    """All that a run looks at. `talk`: genuine rows from phones and webcams; a row of `copies` has `original`, a genuine row of the
    training side or of `talk`; `held_talk`: log spectra [clips, 240, 256] of genuine people who are in no other part.
    """

    voices: Voices
    talk: list[Row]
    copies: list[Row]
    spectra: SpectrumPack
    held_talk: Floats


@dataclass(frozen=True)
class Batch:
    """`spectrum` [n, frames, 256], `label` [n] and `forged` [n, frames], 1 where a frame is generated. The last 2 × `pairs` clips are
    genuine ones and then, in the same order, their copies. The first clips are fakes and then as many genuine ones; `rivals`: which of
    these fakes stand beside a genuine clip of their own source.
    """

    spectrum: torch.Tensor
    label: torch.Tensor
    forged: torch.Tensor
    pairs: int
    rivals: torch.Tensor


class Draw:
    """Endless batches of the rows that `VoiceRows` draws.

    A copy passes the same codec, roughening, filter and noise as the original beside it, and is cut at the same place. Where copies
    begin and end within a clip (splices), the frames of original and copy are joined before filter and noise.
    """

    def __init__(self, data: Data, rng: np.random.Generator) -> None:
        self._spectra, self._rng, self._distort = data.spectra, rng, Distort(rng)
        self._rows = VoiceRows(data.voices.train, data.talk, data.copies, rng)

    def batch(self) -> Batch:
        rng = self._rng
        frames = int(rng.choice(LENGTHS, p=LENGTH_SHARES))
        fakes = self._rows.fakes(BATCH_FAKES)
        partners = [self._rows.partner(fake) for fake in fakes]
        rivals = torch.tensor([fake["source"] == partner["source"] for fake, partner in zip(fakes, partners, strict=True)])
        clips = [self._alone(row, frames) for row in fakes + partners]
        beside, spliced = ([self._pair(frames) for _ in range(count if self._rows.copies else 0)] for count in (BATCH_PAIRS, BATCH_SPLICES))
        forged = np.zeros((len(clips) + len(spliced) + 2 * len(beside), frames), np.float32)
        forged[:BATCH_FAKES] = forged[len(forged) - len(beside) :] = 1
        for original, copy, channel in spliced:
            length = int(rng.integers(frames // 3, frames))
            start = int(rng.integers(0, frames - length + 1))
            forged[len(clips), start : start + length] = 1
            clips.append(self._distort.through(np.where(forged[len(clips), :, None] > 0, copy, original), channel))
        clips += [self._distort.through(original, channel) for original, _, channel in beside]
        clips += [self._distort.through(copy, channel) for _, copy, channel in beside]
        places = rng.integers(0, 2**31, len(clips))
        places[len(clips) - len(beside) :] = places[len(clips) - 2 * len(beside) : len(clips) - len(beside)]
        spectrum = np.stack([masked(clip, np.random.default_rng(int(place))) for clip, place in zip(clips, places, strict=True)])
        return Batch(torch.from_numpy(spectrum), torch.from_numpy(forged.max(1)), torch.from_numpy(forged), len(beside), rivals)

    def _alone(self, row: Row, frames: int) -> Floats:
        rng = self._rng
        clip = self._spectra.get(f"{rng.choice(['plain', 'worn', 'rough'])}:{row['file']}")
        return self._distort.through(at_speed(clip, frames, float(rng.random()), self._speed()), self._distort.channel())

    def _pair(self, frames: int) -> tuple[Bytes, Bytes, Channel]:
        """The same frames of a genuine clip and of a copy of it, and the channel that both are to pass."""
        rng = self._rng
        copy = self._rows.copy()
        variant, place, speed = str(rng.choice(["worn", "rough"])), float(rng.random()), self._speed()
        both = (self._spectra.get(f"{variant}:{file}") for file in (copy["original"], copy["file"]))
        original, made = (at_speed(clip, frames, place, speed) for clip in both)
        return original, made, self._distort.channel()

    def _speed(self) -> float:
        return float(self._rng.uniform(*SPEEDS)) if self._rng.random() < SPEED_SHARE else 1.0


def masked(spectrum: Floats, rng: np.random.Generator) -> Floats:
    """SpecAugment: up to two bands and one stretch of time are replaced by the mean."""
    mean = spectrum.mean()
    for _ in range(int(rng.integers(0, 3))):
        low, width = int(rng.integers(0, 240)), int(rng.integers(4, 36))
        spectrum[:, low : low + width] = mean
    if rng.random() < 0.4:
        start = int(rng.integers(0, len(spectrum) - 10))
        spectrum[start : start + int(rng.integers(5, 40))] = mean
    return spectrum

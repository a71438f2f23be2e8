"""Batches for the voice net: fakes with as many genuine clips, copies beside their originals, and genuine clips with a forged stretch."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.data.pool import Row, even_shares
from export.data.voice_pack import Bytes, Channel, Distort, SpectrumPack, at_speed
from export.data.voices import Voices

Floats = NDArray[np.float32]
BATCH_FAKES, BATCH_PAIRS, BATCH_SPLICES = 8, 8, 4  # fakes with as many genuine clips; original and copy; genuine with a forged stretch
TALK_SHARE = 0.25  # of the genuine clips that are not from a forged one's source
COPY_SHARES = {
    "twins": 0.35,
    "talk": 0.25,
    "workshop": 0.4,
}  # of the pairs; workshop: its copies of what is no talk
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
    """Endless batches. Every other genuine clip is from the source of a forged one: a source tells nothing.

    A copy passes the same codec, roughening, filter and noise as the original beside it, and is cut at the same place. Where copies
    begin and end within a clip (splices), the frames of original and copy are joined before filter and noise.
    """

    def __init__(self, data: Data, rng: np.random.Generator) -> None:
        self._spectra, self._rng, self._distort = data.spectra, rng, Distort(rng)
        self._real = [row for row in data.voices.train if row["label"] == "real"]
        self._fake = [row for row in data.voices.train if row["label"] == "fake"]
        self._real_share = even_shares([row["source"] for row in self._real])
        self._talk, self._talk_share = data.talk, even_shares([row["source"] for row in data.talk])
        self._fake_share = even_shares([row["generator"] for row in self._fake])
        self._of_source: dict[str, list[Row]] = defaultdict(list)
        for row in self._real:
            self._of_source[row["source"]].append(row)
        talked = {row["file"] for row in data.talk}
        self._copies, self._copy_share = data.copies, np.zeros(len(data.copies))
        kinds = np.array([kind_of(row, talked) for row in data.copies], object)
        for kind, share in COPY_SHARES.items():
            where = np.flatnonzero(kinds == kind)
            names = [data.copies[i]["generator" if kind == "twins" else "source"] for i in where]
            self._copy_share[where] = share * even_shares(names) if len(where) else 0
        self._copy_share /= self._copy_share.sum() or 1

    def batch(self) -> Batch:
        rng = self._rng
        frames = int(rng.choice(LENGTHS, p=LENGTH_SHARES))
        fakes = [self._fake[i] for i in rng.choice(len(self._fake), BATCH_FAKES, p=self._fake_share)]
        partners = [self._partner(fake) for fake in fakes]
        rivals = torch.tensor([fake["source"] == partner["source"] for fake, partner in zip(fakes, partners, strict=True)])
        clips = [self._alone(row, frames) for row in fakes + partners]
        beside, spliced = ([self._pair(frames) for _ in range(count if self._copies else 0)] for count in (BATCH_PAIRS, BATCH_SPLICES))
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

    def _partner(self, fake: Row) -> Row:
        near = self._of_source.get(fake["source"])
        if near and self._rng.random() < 0.5:
            return near[int(self._rng.integers(len(near)))]
        if self._talk and self._rng.random() < TALK_SHARE:
            return self._talk[int(self._rng.choice(len(self._talk), p=self._talk_share))]
        return self._real[int(self._rng.choice(len(self._real), p=self._real_share))]

    def _alone(self, row: Row, frames: int) -> Floats:
        rng = self._rng
        clip = self._spectra.get(f"{rng.choice(['plain', 'worn', 'rough'])}:{row['file']}")
        return self._distort.through(at_speed(clip, frames, float(rng.random()), self._speed()), self._distort.channel())

    def _pair(self, frames: int) -> tuple[Bytes, Bytes, Channel]:
        """The same frames of a genuine clip and of a copy of it, and the channel that both are to pass."""
        rng = self._rng
        copy = self._copies[int(rng.choice(len(self._copies), p=self._copy_share))]
        variant, place, speed = str(rng.choice(["worn", "rough"])), float(rng.random()), self._speed()
        both = (self._spectra.get(f"{variant}:{file}") for file in (copy["original"], copy["file"]))
        original, made = (at_speed(clip, frames, place, speed) for clip in both)
        return original, made, self._distort.channel()

    def _speed(self) -> float:
        return float(self._rng.uniform(*SPEEDS)) if self._rng.random() < SPEED_SHARE else 1.0


def kind_of(copy: Row, talked: set[str]) -> str:
    """Which of COPY_SHARES a copy counts among; `talked`: the files of talk."""
    if copy["file"].startswith("twin~"):
        return "twins"
    return "talk" if copy["original"] in talked else "workshop"


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

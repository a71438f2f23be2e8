"""The batches that lips and voice learn speech and sync from, and what all training of the lip–voice net draws on."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.data.folds import wild_split
from export.data.mouths import mirrored, moved_mouths
from export.data.pool import Row, even_shares, read_table
from export.data.talk import TalkStore, in_step, load_talk, split_avspeech, split_talk
from export.data.talk_teacher import TAUGHT_WIDTH, Taught, load_taught
from export.data.talk_views import VIEWS, View, Views, load_units, load_views
from export.data.voice_mels import VoiceMels, worn_mels
from export.data.voices import Voices, load_voices
from export.nets.audio_visual import INNER
from monitor.alerts.sync import MAX_LAG_STEPS

Floats = NDArray[np.float32]
STEP_SAMPLES = 640  # of sound, 40 ms
LEAST_OVERLAP = 10
SHARES = {"avspeech": 0.42, "talk": 0.22, "genuine": 0.12, "forged": 0.24}
Place = tuple[TalkStore, Row]


@dataclass(frozen=True)
class Stores:
    """Everything the net trains on and is judged with, split into folds."""

    views: Views
    taught: Taught | None
    talk_held: list[Place]
    wild_train: list[Place]
    wild_held: list[Place]
    voices: Voices
    voice_mels: VoiceMels
    texts: dict[str, str]


def load_stores(pool: Path) -> Stores:
    avspeech, talk, wild = (load_talk(pool, name) for name in ("avspeech", "talk", "wild"))
    held = [(avspeech, row) for row in split_avspeech(avspeech.rows)[1]] + [(talk, row) for row in split_talk(talk.rows)[1]]
    held = [(store, row) for store, row in held if in_step(row) and store.clip(row).sound is not None]
    wild_train, wild_held = ([(wild, row) for row in fold] for fold in wild_split(wild.rows))
    voices, views = load_voices(pool), load_views(pool)
    texts = {row["file"]: row["transcript"].removeprefix("word ") for row in read_table(pool / "data" / "avspeech")}
    return Stores(views, load_taught(views), held, wild_train, wild_held, voices, VoiceMels(voices, load_units(views.talks)), texts)


@dataclass(frozen=True)
class TalkBatch:
    """Lips [N, T, 48, 48] and log_mel [N, 4 T, 64]: step t of the lips is the moment of step t + `lag` of the voice, give or take.

    `sure` [N]: whether the lag is known or only measured. `lip_units`, `voice_units` int64 [N, T]. `taught_lips`, `taught_voice`
    [N, T, 64]: what the shipped net makes of them, zeros where there is none. `texts`: characters, where known.
    """

    lips: Tensor
    log_mel: Tensor
    lag: Tensor
    sure: Tensor
    lip_units: Tensor
    voice_units: Tensor
    taught_lips: Tensor
    taught_voice: Tensor
    texts: list[list[int]]


class Alphabet:
    """Characters ↔ numbers from 1; 0 is the CTC blank."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.characters = sorted({character for text in texts for character in text})

    def numbers(self, text: str) -> list[int]:
        return [1 + self.characters.index(character) for character in text]


class TalkDraw:
    """Endless batches of talk and of genuine voices alone."""

    def __init__(self, stores: Stores, rng: np.random.Generator) -> None:
        self._views, self._taught, self._mels, self._rng = stores.views, stores.taught, stores.voice_mels, rng
        self.alphabet = Alphabet(list(stores.texts.values()))
        self._texts = stores.texts
        self._by_kind: dict[str, list[int]] = defaultdict(list)
        for index, talk in enumerate(self._views.talks):
            self._by_kind[talk.kind].append(index)
        self._real = [index for index, row in enumerate(self._mels.rows) if row["label"] == "real"]
        self._real_share = even_shares([self._mels.rows[index]["source"] for index in self._real])

    def talk(self, size: int, steps: int) -> TalkBatch:
        """Clips of at least `steps`, each cut at two places so that lips and voice are up to steps − 10 apart."""
        chosen = self._chosen(size, steps)
        return self._batch(chosen, [self._cut(index, steps) for index in chosen])

    def spoken(self, size: int, steps: int = 30) -> TalkBatch:
        """Whole clips of avspeech at their own speed, with what is said."""
        chosen = self._rng.choice(self._by_kind["avspeech"], size, replace=False).tolist()
        batch = self._batch(chosen, [self._whole(index, steps) for index in chosen])
        texts = [self.alphabet.numbers(self._texts[self._views.talks[index].row["file"]]) for index in chosen]
        return dataclasses.replace(batch, texts=texts)

    def _batch(self, chosen: list[int], cuts: list["_Cut"]) -> TalkBatch:
        mels = worn_mels(np.stack([each.mel for each in cuts]), self._rng)
        lip_units, voice_units = (np.stack([each.units[side] for each in cuts]).astype(np.int64) for side in (0, 1))
        lips, voice = (np.stack([each.taught[side] for each in cuts]).astype(np.float32) for side in (0, 1))
        return TalkBatch(
            torch.from_numpy(np.stack([each.lips for each in cuts])),
            torch.from_numpy(mels),
            torch.tensor([each.lag for each in cuts]),
            torch.tensor([self._views.talks[index].sure for index in chosen]),
            torch.from_numpy(lip_units),
            torch.from_numpy(voice_units),
            torch.from_numpy(lips),
            torch.from_numpy(voice),
            [],
        )

    def voices(self, size: int, steps: int) -> tuple[Tensor, Tensor]:
        """(log_mel [B, 4 T, 64], units int64 [B, T]) of genuine voices."""
        rng = self._rng
        mels, units = [], []
        for index in rng.choice(self._real, size, p=self._real_share):
            mel, said = self._mels.mel(index, worn=bool(rng.random() < 0.5)), self._mels.units(index)
            start = int(rng.integers(0, max(1, len(said) - steps + 1)))
            mels.append(np.resize(mel[4 * start :], (4 * steps, 64)))
            units.append(np.resize(said[start:], steps))
        return torch.from_numpy(worn_mels(np.stack(mels), rng)), torch.from_numpy(np.stack(units).astype(np.int64))

    def _chosen(self, size: int, steps: int) -> list[int]:
        """Indices of clips, by SHARES of their kinds and evenly among people; none twice."""
        fit = {kind: [i for i in indices if self._views.steps[i] >= steps] for kind, indices in self._by_kind.items()}
        total = sum(share for kind, share in SHARES.items() if fit.get(kind))
        chosen: list[int] = []
        for kind, share in SHARES.items():
            if fit.get(kind):
                wanted = min(len(fit[kind]), round(size * share / total))
                people = even_shares([self._views.talks[i].who for i in fit[kind]])
                chosen += self._rng.choice(fit[kind], wanted, replace=False, p=people).tolist()
        return chosen[:size]

    def _cut(self, index: int, steps: int) -> "_Cut":
        rng = self._rng
        view = self._views.view(index, int(rng.integers(VIEWS)))
        spare = len(view.mouths) - steps
        seen_from = int(rng.integers(0, spare + 1))
        reach = min(steps - LEAST_OVERLAP, MAX_LAG_STEPS - 2)
        heard_from = int(rng.integers(max(0, seen_from - reach), min(spare, seen_from + reach) + 1))
        whole = np.arange(steps)
        return self._made(index, view, seen_from + whole, heard_from + whole)

    def _whole(self, index: int, steps: int) -> "_Cut":
        view = self._views.view(index, int(self._rng.choice([0, 3])))  # at the clip's own speed
        whole = mirrored(len(view.mouths), 0, steps)
        return self._made(index, view, whole, np.minimum(np.arange(steps), len(view.mouths) - 1))

    def _made(self, index: int, view: View, seen: NDArray[np.int64], heard: NDArray[np.int64]) -> "_Cut":
        """The steps `seen` of the lips and `heard` of the sound."""
        late = self._views.talks[index].late
        said = np.clip(seen + late, 0, len(view.units) - 1)
        frames = (4 * heard[:, None] + np.arange(4)).ravel()
        nothing = np.zeros((len(view.mouths), TAUGHT_WIDTH), np.float16)
        taught = self._taught.of(index, len(view.mouths)) if self._taught else (nothing, nothing)
        lips = moved_mouths(view.mouths[seen], self._rng, INNER)
        units = view.units[said], view.units[heard]
        return _Cut(lips, view.mel[frames], int(seen[0] + late - heard[0]), units, (taught[0][seen], taught[1][heard]))


@dataclass(frozen=True)
class _Cut:
    """One clip's part of a TalkBatch; of pairs the first is for the lips, the second for the voice."""

    lips: Floats
    mel: Floats
    lag: int
    units: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    taught: tuple[NDArray[np.float16], NDArray[np.float16]]

"""Training couples: a fake and a genuine crop that differ in nothing but the forgery, as far as the pool allows."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.face_augment import MAP_CELLS, Floats, Image, blend, coarsened, cut_map, degrade, draw_degradation
from export.data.faces import MARGIN_PX, WIDE_PX, FaceCache, FaceRow
from export.data.folds import wild_folds
from export.data.pool import read_table
from export.data.talk import split_avspeech, split_talk

KINDS = {"pair": 0.30, "look-alike": 0.34, "still": 0.14, "blend": 0.22}
TWINS = 24  # a fake without its original is set against one of this many genuine crops that look most like it
SOFT_ORIGINALS = 0.15  # fakes are a little softer than their originals on average; with this share spoiled the two are level
UNCHANGED = 0.008  # a fake whose mask is emptier than this share shows no forgery that its original could teach


@dataclass(frozen=True)
class Batch:
    """`faces` [2n, 3, 128, 128] (n genuine, then their n fakes), `labels` [2n], `maps` [2n, 16, 16], `map_known` [2n] (0 or 1)."""

    faces: Floats
    labels: Floats
    maps: Floats
    map_known: Floats


@dataclass(frozen=True)
class Fold:
    """Rows of the cache: to train on; of `wild`, held out; of `talk` and `avspeech` (genuine), held out too. `devset` is in none."""

    train: list[int]
    held: list[int]
    held_talk: list[int]


def not_trained_on(pool: Path, fold: int = 0) -> tuple[set[str], set[str], set[str]]:
    """Files ("wild/x.mp4") that are held out, held out as genuine talk, or left out because their generator is held out."""
    data = pool / "data"
    rows = read_table(data / "wild")
    train, held = wild_folds(rows)[fold]
    held_files = {f"wild/{row['file']}" for row in held}
    talk = {f"talk/{row['file']}" for row in split_talk(read_table(data / "talk"))[1]}
    avspeech = {f"avspeech/{row['file']}" for row in split_avspeech(read_table(data / "avspeech"))[1]}
    return held_files, talk | avspeech, {f"wild/{row['file']}" for row in rows} - {f"wild/{row['file']}" for row in train} - held_files


def fold_of(rows: Sequence[FaceRow], held: Collection[str], held_talk: Collection[str], left_out: Collection[str]) -> Fold:
    """See `folds.wild_folds`; the speakers of `talk` are split as the lip–voice net splits them."""
    files = [f"{row.pool}/{row.clip}" for row in rows]
    elsewhere = {*held, *held_talk, *left_out}
    return Fold(
        train=[i for i, file in enumerate(files) if rows[i].pool != "devset" and file not in elsewhere],
        held=[i for i, file in enumerate(files) if file in held],
        held_talk=[i for i, file in enumerate(files) if file in held_talk],
    )


class Couples:
    """Draws couples from the training rows of the cache, generators weighted by the square root of their size."""

    def __init__(self, cache: FaceCache, train: Sequence[int], rng: np.random.Generator) -> None:
        self._cache = cache
        self._rng = rng
        rows = cache.rows
        self._genuine = np.array([i for i in train if not rows[i].fake])
        self._same_clip: dict[str, list[int]] = defaultdict(list)
        for i in self._genuine:
            self._same_clip[rows[i].pool + rows[i].clip].append(int(i))
        looks = np.array([rows[i].look for i in self._genuine], np.float32)
        self._spread = looks.std(0) + 1e-6
        self._looks = looks / self._spread
        self._by_kind: dict[str, dict[str, list[int]]] = {
            "pair": defaultdict(list),
            "look-alike": defaultdict(list),
            "still": defaultdict(list),
        }
        for i in train:
            if rows[i].fake and not (rows[i].pool == "stills" and self._unchanged(i)):
                kind = "still" if rows[i].pool == "stills" else "pair" if rows[i].origin >= 0 else "look-alike"
                self._by_kind[kind][rows[i].generator].append(i)
        self._draw: dict[str, Callable[[], tuple[Image, Image, Floats | None]]] = {
            "pair": lambda: self._known("pair"),
            "look-alike": lambda: self._known("look-alike"),
            "still": lambda: self._known("still"),
            "blend": self._blended,
        }

    def batches(self, couples: int) -> Iterator[Batch]:
        kinds = list(KINDS)
        while True:
            chosen = self._rng.choice(len(kinds), size=couples, p=list(KINDS.values()))
            yield self._batch([kinds[k] for k in chosen])

    def _batch(self, kinds: Sequence[str]) -> Batch:
        n = len(kinds)
        faces = np.empty((2 * n, 3, 128, 128), np.float32)
        maps = np.zeros((2 * n, MAP_CELLS, MAP_CELLS), np.float32)
        known = np.ones(2 * n, np.float32)
        for slot, kind in enumerate(kinds):
            genuine, fake, mask = self._draw[kind]()
            how = draw_degradation(self._rng, MARGIN_PX)
            faces[slot] = degrade(genuine, how, self._rng).transpose(2, 0, 1)
            faces[n + slot] = degrade(fake, how, self._rng).transpose(2, 0, 1)
            known[n + slot] = mask is not None
            if mask is not None:
                maps[n + slot] = cut_map(mask, how)
        return Batch(faces, np.repeat(np.array([0, 1], np.float32), n), maps, known)

    def _known(self, kind: str) -> tuple[Image, Image, Floats | None]:
        """A fake of the pool with its original or a look-alike."""
        groups = self._by_kind[kind]
        sizes = np.sqrt([len(g) for g in groups.values()])
        group = list(groups.values())[self._rng.choice(len(groups), p=sizes / sizes.sum())]
        index = group[self._rng.integers(len(group))]
        row = self._cache.rows[index]
        genuine = row.origin if row.origin >= 0 else self._twin(row)
        mask = self._wide_mask(index) if row.masked and not self._unchanged(index) else None
        shown = np.asarray(self._cache.crops[genuine])
        if row.origin >= 0 and self._rng.random() < SOFT_ORIGINALS:
            shown = coarsened(shown, self._rng)
        return shown, self._cache.crops[index], mask

    def _blended(self) -> tuple[Image, Image, Floats | None]:
        """A genuine crop and a blend of it with itself, with another moment of its clip, or with a look-alike."""
        index = int(self._genuine[self._rng.integers(len(self._genuine))])
        row = self._cache.rows[index]
        genuine = np.asarray(self._cache.crops[index])
        moments = [i for i in self._same_clip[row.pool + row.clip] if i != index]
        way = self._rng.random()
        donor: Image | None = None
        kind = str(self._rng.choice(["face", "mouth", "eyes"], p=[0.6, 0.25, 0.15]))
        if way < 0.3 and moments:
            donor, kind = (
                np.asarray(self._cache.crops[moments[self._rng.integers(len(moments))]]),
                str(self._rng.choice(["mouth", "eyes", "mouth"])),
            )
        elif way < 0.6:
            donor = np.asarray(self._cache.crops[self._twin(row)])
        coarse = bool(self._rng.random() < 0.4)
        if not coarse and self._rng.random() < 0.7:  # the surroundings lose quality, not the region: being soft must not mean being forged
            donor = genuine if donor is None else donor
            genuine = coarsened(genuine, self._rng)
        fake, mask = blend(genuine, donor, kind, self._rng, coarse)
        return genuine, fake, mask

    def _twin(self, row: FaceRow) -> int:
        """A genuine row of another clip that looks like `row` in sharpness, brightness, contrast and saturation."""
        distance = np.abs(self._looks - np.asarray(row.look, np.float32) / self._spread).max(1)
        near = np.argpartition(distance, min(TWINS, len(distance) - 1))[:TWINS]
        others = [int(self._genuine[i]) for i in near if self._cache.rows[self._genuine[i]].clip != row.clip]
        return others[self._rng.integers(len(others))] if others else int(self._genuine[near[0]])

    def _unchanged(self, index: int) -> bool:
        return self._cache.rows[index].masked and float(self._cache.masks[index].mean()) < UNCHANGED * 255

    def _wide_mask(self, index: int) -> NDArray[np.float32]:
        mask = self._cache.masks[index].astype(np.float32) / 255
        return np.asarray(cv2.resize(mask, (WIDE_PX, WIDE_PX), interpolation=cv2.INTER_LINEAR), np.float32)

"""Training couples: a fake and a genuine crop that differ in nothing but the forgery, as far as the pool allows.

A shot is two pictures, uint8 [2, 160, 160, 3]: a crop and the same place a frame earlier; both are forged and spoiled alike.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.degrade_video import as_in_a_call
from export.data.face_augment import MAP_CELLS, Floats, Image, blend, coarsened, cut_map, degrade, draw_degradation, region_mask
from export.data.face_workshop import KINDS as FORGERIES
from export.data.face_workshop import Donors, forge_alike, most_alike
from export.data.faces import MARGIN_PX, WIDE_PX, FaceCache, FaceRow, Shot
from monitor.faces.crop import FACE_PX

# Who a fake without its original shows can be learnt by heart, so such fakes are few; what a couple shares cannot.
KINDS = {"pair": 0.26, "part": 0.14, "look-alike": 0.15, "still": 0.11, "blend": 0.08, "workshop": 0.26}
POOL_SHARES = {"wild": 0.36, "talk": 0.28, "stills": 0.16, "faces": 0.12, "avspeech": 0.08}  # of the genuine crops that are forged here
DONORS = 8  # look-alikes among which a workshop fake takes the nearest pose
TWINS = 24  # a fake without its original is set against one of this many genuine crops that look most like it
SOFT_ORIGINALS = 0.15  # fakes are a little softer than their originals on average; with this share spoiled the two are level
STOOD_STILL = 0.1  # share of couples whose earlier picture is the same one again, as in calls of few frames a second
AS_IN_A_CALL = 0.25  # share of couples that go through a call
HARDEST_CALL = 2  # of 5 levels: what hardly shows after it teaches nothing
SENT_BEFORE = 3  # pictures in a call before the two of a shot, so that its coder has begun
COVERED = 0.2  # share of couples of which a block is gray, in both
RE_ANIMATED_MOMENT = 0.65  # of re-animations move a still of another moment, the others the shot's own first picture
UNCHANGED = 0.008  # a fake whose mask is emptier than this share shows no forgery that its original could teach


@dataclass(frozen=True)
class Batch:
    """`faces`, `earlier` uint8 [2n, 3, 128, 128], n genuine, then their n fakes.

    `labels` [2n] and `map_known` [2n] are 0 or 1, `maps` [2n, 16, 16] the changed share of each cell.
    """

    faces: Image
    earlier: Image
    labels: Floats
    maps: Floats
    map_known: Floats


Made = TypeVar("Made")


class Couples:
    """Draws couples from the training rows of the cache, generators weighted by the square root of their size."""

    def __init__(self, cache: FaceCache, train: Sequence[int], rng: np.random.Generator, calls: float = AS_IN_A_CALL) -> None:
        self._cache, self._rng, self._calls = cache, rng, calls
        rows = cache.rows
        self._genuine = np.array([i for i in train if not rows[i].fake])
        self._same_clip: dict[str, list[int]] = defaultdict(list)
        for i in self._genuine:
            self._same_clip[rows[i].pool + rows[i].clip].append(int(i))
        self._genuine_until = np.cumsum(even_people([rows[i] for i in self._genuine]))
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
        self._draw: dict[str, Callable[[], tuple[Shot, Shot, Floats | None]]] = {
            "pair": lambda: self._known("pair"),
            "look-alike": lambda: self._known("look-alike"),
            "still": lambda: self._known("still"),
            "part": self._part,
            "blend": self._blended,
            "workshop": self._forged,
        }

    def batches(self, couples: int) -> Iterator[Batch]:
        kinds = list(KINDS)
        while True:
            chosen = self._rng.choice(len(kinds), size=couples, p=list(KINDS.values()))
            yield self._batch([kinds[k] for k in chosen])

    def _batch(self, kinds: Sequence[str]) -> Batch:
        n = len(kinds)
        shots = np.empty((2, 2 * n, 3, FACE_PX, FACE_PX), np.uint8)
        maps = np.zeros((2 * n, MAP_CELLS, MAP_CELLS), np.float32)
        known = np.ones(2 * n, np.float32)
        for slot, kind in enumerate(kinds):
            genuine, fake, mask = self._draw[kind]()
            if self._rng.random() < self._calls:
                genuine, fake = self._in_a_call(genuine, fake)
            if self._rng.random() < COVERED:
                genuine, fake, mask = self._covered(genuine, fake, mask)
            how = draw_degradation(self._rng, MARGIN_PX)
            still = bool(self._rng.random() < STOOD_STILL)
            for place, shot in ((slot, genuine), (n + slot, fake)):
                shots[0, place] = degrade(shot[0], how, self._rng).transpose(2, 0, 1)
                shots[1, place] = shots[0, place] if still else degrade(shot[1], how, self._rng).transpose(2, 0, 1)
            known[n + slot] = mask is not None
            if mask is not None:
                maps[n + slot] = cut_map(mask, how)
        return Batch(shots[0], shots[1], np.repeat(np.array([0, 1], np.float32), n), maps, known)

    def _known(self, kind: str) -> tuple[Shot, Shot, Floats | None]:
        """A fake of the pool with its original or a look-alike."""
        groups = self._by_kind[kind]
        sizes = np.sqrt([len(g) for g in groups.values()])
        group = list(groups.values())[self._rng.choice(len(groups), p=sizes / sizes.sum())]
        index = group[self._rng.integers(len(group))]
        row = self._cache.rows[index]
        genuine = row.origin if row.origin >= 0 else self._twin(row)
        mask = self._wide_mask(index) if row.masked and not self._unchanged(index) else None
        shown = self._cache.shot(genuine)
        if row.origin >= 0 and self._rng.random() < SOFT_ORIGINALS:
            shown = self._coarsened(shown)
        return shown, self._cache.shot(index), mask

    def _part(self) -> tuple[Shot, Shot, Floats | None]:
        """An original into which only a region of its own fake was put: what is forged is less than the face, and its place is known."""
        genuine, fake, mask = self._known("pair")
        if mask is None:
            return genuine, fake, mask
        region = region_mask(self._rng, str(self._rng.choice(["face", "mouth", "eyes"])), WIDE_PX)
        if float((region * mask).mean()) < UNCHANGED:
            return genuine, fake, mask
        mixed = genuine + (fake.astype(np.float32) - genuine) * region[..., None]
        return genuine, np.clip(mixed + 0.5, 0, 255).astype(np.uint8), region * mask

    def _forged(self) -> tuple[Shot, Shot, Floats | None]:
        """A genuine crop and what the workshop makes of it."""
        index = self._any_genuine()
        genuine = self._cache.shot(index)
        kind = str(self._rng.choice(list(FORGERIES), p=list(FORGERIES.values())))
        moment = self._moment(index) if kind in ("mouth", "reanimation", "autoencoder") else None
        other = None
        if kind in ("swap", "mouth", "autoencoder"):
            others = [self._twin(self._cache.rows[index]) for _ in range(DONORS)]
            other = self._cache.shot(others[most_alike(genuine[0], [np.asarray(self._cache.crops[i]) for i in others])])
        still = moment[0] if moment is not None and self._rng.random() < RE_ANIMATED_MOMENT else genuine[0]
        moving = genuine[:1] if _stands_still(genuine) else genuine  # of a picture that stands still the fake stands still too
        donors = [
            Donors(moment=None if moment is None else moment[k], other=None if other is None else other[k], still=still)
            for k in range(len(moving))
        ]
        fakes, mask = forge_alike(kind, moving, donors, self._rng)
        return genuine, np.broadcast_to(fakes, genuine.shape), mask

    def _blended(self) -> tuple[Shot, Shot, Floats | None]:
        """A genuine crop and a blend of it with itself, with another moment of its clip, or with a look-alike."""
        index = self._any_genuine()
        genuine = self._cache.shot(index)
        way = self._rng.random()
        kind = str(self._rng.choice(["face", "mouth", "eyes"], p=[0.6, 0.25, 0.15]))
        donor = self._moment(index) if way < 0.3 else None
        if donor is not None:
            kind = str(self._rng.choice(["mouth", "eyes", "mouth"]))
        elif 0.3 <= way < 0.6:
            donor = self._cache.shot(self._twin(self._cache.rows[index]))
        if donor is not None and _stands_still(genuine):
            donor = np.stack([donor[0], donor[0]])
        coarse = bool(self._rng.random() < 0.4)
        if not coarse and self._rng.random() < 0.7:  # the surroundings lose quality, not the region: being soft must not mean being forged
            donor = genuine if donor is None else donor
            genuine = self._coarsened(genuine)
        made = self._on_both(lambda k: blend(genuine[k], None if donor is None else donor[k], kind, self._rng, coarse))
        return genuine, np.stack([fake for fake, _ in made]), made[0][1]

    def _in_a_call(self, *shots: Shot) -> list[Shot]:
        """The shots, each through a call of the same kind and the same draws; the call has begun a few pictures earlier."""
        state = self._rng.bit_generator.state
        out = []
        for shot in shots:
            self._rng.bit_generator.state = state
            sent = [np.roll(shot[1], step % 2, axis=1) for step in range(SENT_BEFORE, 0, -1)]
            out.append(np.stack(as_in_a_call([*sent, shot[1], shot[0]], self._rng, HARDEST_CALL)[:-3:-1]))
        return out

    def _covered(self, genuine: Shot, fake: Shot, mask: Floats | None) -> tuple[Shot, Shot, Floats | None]:
        """A gray block over the same place of both; none where it would hide most of the forgery."""
        width, height = (int(each) for each in self._rng.integers(24, 64, 2))
        left, top = (int(self._rng.integers(MARGIN_PX, WIDE_PX - MARGIN_PX - each)) for each in (width, height))
        place = (slice(top, top + height), slice(left, left + width))
        if mask is not None:
            rest = mask.copy()
            rest[place] = 0
            if rest.sum() < 0.5 * mask.sum():
                return genuine, fake, mask
            mask = rest
        gray = genuine[0].mean((0, 1)).astype(np.uint8)
        genuine, fake = genuine.copy(), fake.copy()
        genuine[:, place[0], place[1]] = fake[:, place[0], place[1]] = gray
        return genuine, fake, mask

    def _any_genuine(self) -> int:
        """A genuine row, people and folders in even shares."""
        place = np.searchsorted(self._genuine_until, self._rng.random() * self._genuine_until[-1])
        return int(self._genuine[min(int(place), len(self._genuine) - 1)])

    def _on_both(self, make: Callable[[int], Made]) -> list[Made]:
        """What `make` gives for both pictures of a shot under the same draws."""
        state = self._rng.bit_generator.state
        first = make(0)
        self._rng.bit_generator.state = state
        return [first, make(1)]

    def _coarsened(self, shot: Shot) -> Shot:
        return np.stack(self._on_both(lambda k: coarsened(shot[k], self._rng)))

    def _moment(self, index: int) -> Shot | None:
        """Another moment of the same clip."""
        row = self._cache.rows[index]
        moments = [i for i in self._same_clip[row.pool + row.clip] if i != index]
        return self._cache.shot(moments[self._rng.integers(len(moments))]) if moments else None

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


def _stands_still(shot: Shot) -> bool:
    return bool((shot[0] == shot[1]).all())


def even_people(rows: Sequence[FaceRow]) -> NDArray[np.float64]:
    """Weights [n] by which each folder gives as POOL_SHARES says, and in it a person (or clip, where nobody is named) with k crops √k."""
    people = [row.pool + (row.group or row.clip) for row in rows]
    sizes = Counter(people)
    weights = np.array([sizes[person] ** -0.5 for person in people])
    for pool in {row.pool for row in rows}:
        mine = np.array([row.pool == pool for row in rows])
        weights[mine] *= POOL_SHARES.get(pool, 0.1) / weights[mine].sum()
    return weights

"""Which clips stand in a batch of voices: fakes, a genuine partner for each, and copies with their originals."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from export.data.pool import Row, even_shares

TALK_SHARE = 0.25  # of the genuine clips that are not from a forged one's source
COPY_SHARES = {
    "twins": 0.35,
    "talk": 0.25,
    "workshop": 0.4,
}  # of the pairs; workshop: its copies of what is no talk


class VoiceRows:
    """Draws rows. Every other genuine clip is from the source of a forged one: a source tells nothing."""

    def __init__(self, train: Sequence[Row], talk: Sequence[Row], copies: Sequence[Row], rng: np.random.Generator) -> None:
        self._rng, self._talk, self.copies = rng, talk, copies
        self._real, self._fake = ([row for row in train if row["label"] == label] for label in ("real", "fake"))
        self._real_share = even_shares([row["source"] for row in self._real])
        self._talk_share = even_shares([row["source"] for row in talk])
        self._fake_share = even_shares([row["generator"] for row in self._fake])
        self._of_source: dict[str, list[Row]] = defaultdict(list)
        for row in self._real:
            self._of_source[row["source"]].append(row)
        talked = {row["file"] for row in talk}
        self.copy_share, kinds = np.zeros(len(copies)), np.array([kind_of(row, talked) for row in copies], object)
        for kind, share in COPY_SHARES.items():
            where = np.flatnonzero(kinds == kind)
            names = [copies[int(i)]["generator" if kind == "twins" else "source"] for i in where]
            self.copy_share[where] = share * even_shares(names) if len(where) else 0
        self.copy_share /= self.copy_share.sum() or 1

    def fakes(self, count: int) -> list[Row]:
        return [self._fake[i] for i in self._rng.choice(len(self._fake), count, p=self._fake_share)]

    def partner(self, fake: Row) -> Row:
        """A genuine row: of the fake's own source, of talk, or any."""
        near = self._of_source.get(fake["source"])
        if near and self._rng.random() < 0.5:
            return near[int(self._rng.integers(len(near)))]
        if self._talk and self._rng.random() < TALK_SHARE:
            return self._talk[int(self._rng.choice(len(self._talk), p=self._talk_share))]
        return self._real[int(self._rng.choice(len(self._real), p=self._real_share))]

    def copy(self) -> Row:
        return self.copies[int(self._rng.choice(len(self.copies), p=self.copy_share))]


def kind_of(copy: Row, talked: set[str]) -> str:
    """Which of COPY_SHARES a copy counts among; `talked`: the files of talk."""
    if copy["file"].startswith("twin~"):
        return "twins"
    return "talk" if copy["original"] in talked else "workshop"

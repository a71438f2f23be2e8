"""Who is held out of `wild`: one set of folds for every net, disjoint by person, source page, pair and generator."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from export.data.pool import Row

FOLDS = 4
TIES = ("group", "source", "pair")
TRAINED_ELSEWHERE = ("DFDC (several swap methods)", "StyleGAN", "inswapper")  # generators of `stills`, which only trains
DRAWS = 3000
Split = tuple[list[Row], list[Row]]


def same_name(generator: str) -> str:
    """One spelling of a generator's name ("Wan-S2V", "WanS2V"; "DFDC (method not stated)")."""
    return re.sub(r"[^a-z0-9+]", "", re.sub(r"\(.*", "", generator).lower())


def components(rows: Sequence[Row], ties: Iterable[str] = TIES) -> list[list[int]]:
    """Indices of rows that hang together because they share a non-empty value of any tie (union-find), largest first."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    nodes = []
    for index, row in enumerate(rows):
        mine = [(tie, row[tie]) for tie in ties if row.get(tie)] or [("alone", str(index))]
        nodes.append(mine[0])
        for other in mine[1:]:
            parent[root(other)] = root(mine[0])
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, node in enumerate(nodes):
        found[root(node)].append(index)
    return sorted(found.values(), key=len, reverse=True)


def wild_folds(rows: Sequence[Row]) -> list[Split]:
    """FOLDS pairs (train, held) of the rows of `wild`; every row is held in exactly one of them.

    Whole components (person, page, pair) stay together. A fake whose generator is held out is left out of that fold's training. The first
    fold, whose models ship, holds out no generator that `stills` trains on.
    """
    part_of = _parts(tuple((row["file"], row["family"], row["generator"], row["group"], row["source"], row["pair"]) for row in rows))
    splits = []
    for fold in range(FOLDS):
        held = [row for row in rows if part_of[row["file"]] == fold]
        names = {same_name(row["generator"]) for row in held} - {""}
        train = [row for row in rows if part_of[row["file"]] != fold and same_name(row["generator"]) not in names]
        splits.append((train, held))
    return splits


def wild_split(rows: Sequence[Row]) -> Split:
    """(train, held) of the shipped models: the first of `wild_folds`."""
    return wild_folds(rows)[0]


@lru_cache(maxsize=2)
def _parts(facts: tuple[tuple[str, ...], ...]) -> dict[str, int]:
    """Fold of each file: of many seeded draws, the one whose folds are most alike in families and cost least training material."""
    rows = [dict(zip(("file", "family", "generator", *TIES), fact, strict=True)) for fact in facts]
    groups = components(rows)
    kinds = [row["family"] or "genuine" for row in rows]
    names = [same_name(row["generator"]) for row in rows]
    wanted = {kind: count / FOLDS for kind, count in Counter(kinds).items()}
    barred = {same_name(name) for name in TRAINED_ELSEWHERE}
    rng = random.Random(5)
    best_cost, best = float("inf"), [0] * len(rows)
    for _ in range(DRAWS):
        fold_of = _deal(groups, kinds, names, wanted, rng)
        cost = _imbalance(fold_of, kinds, wanted) + 3 * _dropped(fold_of, names) / len(rows) + _in_first(fold_of, names, barred)
        if cost < best_cost:
            best_cost, best = cost, fold_of
    return {row["file"]: fold for row, fold in zip(rows, best, strict=True)}


def _deal(groups: list[list[int]], kinds: list[str], names: list[str], wanted: dict[str, float], rng: random.Random) -> list[int]:
    """Components in random order, each to the fold that lacks its kinds most and has most of its generators already."""
    fold_of = [-1] * len(kinds)
    have: list[Counter[str]] = [Counter() for _ in range(FOLDS)]
    seen: list[Counter[str]] = [Counter() for _ in range(FOLDS)]
    everywhere = Counter(name for name in names if name)
    for group in sorted(groups, key=lambda g: -len(g) * rng.uniform(0.3, 1.0)):
        mine = Counter(kinds[i] for i in group)
        makers = {names[i] for i in group} - {""}
        scores = [
            sum(count * (1 - have[fold][kind] / wanted[kind]) for kind, count in mine.items()) / len(group)
            + 0.8 * sum(seen[fold][name] / everywhere[name] for name in makers) / max(1, len(makers))
            + rng.uniform(0, 0.2)
            for fold in range(FOLDS)
        ]
        fold = scores.index(max(scores))
        have[fold] += mine
        seen[fold] += Counter(names[i] for i in group if names[i])
        for i in group:
            fold_of[i] = fold
    return fold_of


def _imbalance(fold_of: list[int], kinds: list[str], wanted: dict[str, float]) -> float:
    have = Counter(zip(fold_of, kinds, strict=True))
    return sum(abs(have[fold, kind] - count) / count for kind, count in wanted.items() for fold in range(FOLDS)) / FOLDS


def _dropped(fold_of: list[int], names: list[str]) -> int:
    """Fakes that no longer train in some fold because their generator is held out there."""
    where = Counter((name, fold) for name, fold in zip(names, fold_of, strict=True) if name)
    total = Counter(name for name in names if name)
    return sum(total[name] - count for (name, _), count in where.items())


def _in_first(fold_of: list[int], names: list[str], barred: set[str]) -> int:
    """1 when the first fold, whose models ship, would hold out a generator that `stills` trains on."""
    return int(any(fold == 0 and name in barred for fold, name in zip(fold_of, names, strict=True)))

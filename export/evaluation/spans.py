"""Numbers of what is said about seconds: average precision over overlaps, recall, delay, false incidents per hour. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

IOUS = (0.5, 0.75, 0.9, 0.95)
RECALL_IOUS = tuple(np.arange(0.5, 1.0, 0.05).round(2))
SLACK_S = 2.4  # an incident this close to a forgery is about it: windows are this long


@dataclass(frozen=True)
class Stretch:
    """Seconds of one file that are forged (truth), or said to be (`score` 0..1; `known_s`: when it was said)."""

    file: str
    start_s: float
    end_s: float
    score: float = 1.0
    known_s: float = 0.0


def overlap(a: Stretch, b: Stretch) -> float:
    """Intersection over union, 0..1."""
    shared = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
    return 0.0 if shared <= 0 or a.file != b.file else shared / (max(a.end_s, b.end_s) - min(a.start_s, b.start_s))


def average_precision_at(truth: Sequence[Stretch], said: Sequence[Stretch], iou: float) -> float:
    """AP as in ActivityNet: best first, each truth found once, precision made monotonic. NaN without truth."""
    if not truth:
        return float("nan")
    ranked = sorted(said, key=lambda each: -each.score)
    hits = np.array(_hits(truth, ranked, iou), np.float64)
    if not len(hits):
        return 0.0
    right = hits.cumsum()
    precision, recall = right / np.arange(1, len(hits) + 1), right / len(truth)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float((precision * steps).sum())


def average_recall_at(truth: Sequence[Stretch], said: Sequence[Stretch], count: int) -> float:
    """Share of the truth found by each file's best `count` stretches, mean over overlaps .5 to .95. NaN without truth."""
    if not truth:
        return float("nan")
    by_file: dict[str, list[Stretch]] = defaultdict(list)
    for each in sorted(said, key=lambda each: -each.score):
        if len(by_file[each.file]) < count:
            by_file[each.file].append(each)
    best = [each for group in by_file.values() for each in group]
    return float(np.mean([sum(_hits(truth, best, iou)) / len(truth) for iou in RECALL_IOUS]))


def delays_s(truth: Sequence[Stretch], said: Sequence[Stretch]) -> list[float]:
    """Seconds from the begin of each noticed forgery to the moment it was told. A truth is noticed by what overlaps it."""
    found = []
    for each in truth:
        told = [other.known_s for other in said if overlap(each, other) > 0 and other.known_s >= each.start_s]
        if told:
            found.append(min(told) - each.start_s)
    return found


def false_ones(truth: Sequence[Stretch], said: Sequence[Stretch]) -> list[Stretch]:
    """What was said of seconds with no forgery within SLACK_S."""
    return [
        each
        for each in said
        if not any(t.file == each.file and t.start_s - SLACK_S < each.end_s and each.start_s < t.end_s + SLACK_S for t in truth)
    ]


def per_hour(count: int, seconds: float) -> tuple[float, float, float]:
    """Events an hour with the exact 95 % interval of a Poisson count (Garwood 1936)."""
    if seconds <= 0:
        return (float("nan"),) * 3
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    high = chi2.ppf(0.975, 2 * count + 2) / 2
    hours = seconds / 3600
    return count / hours, float(low / hours), float(high / hours)


def _hits(truth: Sequence[Stretch], ranked: Sequence[Stretch], iou: float) -> list[bool]:
    """For each said stretch whether it finds a truth that none before it found, taking the one it overlaps most."""
    free = set(range(len(truth)))
    hits = []
    for each in ranked:
        best = max(free, key=lambda k: overlap(truth[k], each), default=None)
        hit = best is not None and overlap(truth[best], each) >= iou
        if hit and best is not None:
            free.remove(best)
        hits.append(hit)
    return hits

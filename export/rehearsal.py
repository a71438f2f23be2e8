"""Rehearses calls that last longer than any held-out clip: false incidents an hour, and how long a forgery goes unnoticed.

A call of `CALL_S` has one person. The person's level and the noise of every window are drawn from what held-out clips showed (with the
shape that they showed, at the variances of `alerts.stretches`), and go through monitor's own evidence.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from monitor.alerts.calibration import ModalityCalibration
from monitor.alerts.evidence import Evidence
from monitor.alerts.policy import Policy
from monitor.alerts.stretches import UNIT_S
from monitor.alerts.sync import Strip
from monitor.media import LipsAndVoice, Score, Verdict

CALL_S = 600.0
LIPS_S = 2.4  # between two similarity curves
SMOOTHING = 0.3  # of a standard deviation, so that no rehearsed person is exactly one that was seen
Floats = NDArray[np.float64]
Heard = tuple[float, float, LipsAndVoice]
"""Begin and end of a window in seconds, and what was seen and heard in it."""


@dataclass(frozen=True)
class Cast:
    """Log-odds of windows as one class gives them: `mean`, `spread` and `correlation` (see `alerts.stretches`), and the shapes of both
    parts, each with mean 0 and variance 1.
    """

    mean: float
    spread: float
    correlation: float
    levels: Floats
    noises: Floats

    def person(self, rng: np.random.Generator) -> float:
        drawn = float(rng.choice(self.levels)) + SMOOTHING * rng.normal()
        return self.mean + drawn * math.sqrt(self.correlation / (1 + SMOOTHING**2)) * self.spread

    def windows(self, level: float, count: int, rng: np.random.Generator) -> Floats:
        drawn: Floats = level + rng.choice(self.noises, count) * self.spread * math.sqrt(1 - self.correlation)
        return drawn


def cast(groups: Sequence[Sequence[float]], correlation: float, spread: float | None = None) -> Cast:
    """From window log-odds by person. `spread`: measured when not given."""
    values = np.concatenate([np.array(group) for group in groups])
    means = np.array([np.mean(group) for group in groups])
    noises = np.concatenate([np.array(group) - np.mean(group) for group in groups if len(group) > 1] or [np.array([-1.0, 1.0])])
    return Cast(float(means.mean()), spread or float(values.std()), correlation, _standard(means), _standard(noises))


def correlation_of(several: Sequence[Sequence[float]], everybody: Sequence[Sequence[float]]) -> float:
    """Share of the variance of `everybody` that stays the same through a call. What does not is seen in people with `several` windows each.

    A one-way analysis of variance would do if there were many windows of people of all kinds; there are many of a few, and few of many.
    """
    groups = [np.array(group) for group in several if len(group) > 1]
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / sum(len(group) - 1 for group in groups)
    return 1.0 - float(within) / float(np.concatenate([np.array(group) for group in everybody]).var())


def genuine_calls(genuine: Cast, policy: Policy, hours: float, seed: int = 3) -> list[list[Verdict]]:
    """The verdicts of each rehearsed call."""
    rng = np.random.default_rng(seed)
    count = round(CALL_S / UNIT_S)
    return [told(policy, genuine.windows(genuine.person(rng), count, rng)) for _ in range(round(hours * 3600 / CALL_S))]


def genuine_lips(
    people: Sequence[Sequence[LipsAndVoice]], policy: Policy, sync: ModalityCalibration, hours: float, seed: int = 3
) -> list[list[Verdict]]:
    """The same for sync: each call goes through the windows of one person as they were recorded, again and again."""
    rng = np.random.default_rng(seed)
    calls = []
    for _ in range(round(hours * 3600 / CALL_S)):
        mine, first = _anywhere(people, rng)
        calls.append(told_of_lips(policy, sync, [mine[(first + step) % len(mine)] for step in range(round(CALL_S / LIPS_S))]))
    return calls


def genuine_cuts(
    recordings: Sequence[Sequence[LipsAndVoice]], policy: Policy, sync: ModalityCalibration, hours: float, seed: int = 3
) -> list[list[Verdict]]:
    """The same with a scene cut to another recording, of whomever, after one to three windows, where it has so many. Never to the same one:
    a look that is shown twice would count as two.
    """
    rng = np.random.default_rng(seed)
    calls = []
    for _ in range(round(hours * 3600 / CALL_S)):
        takes: list[Sequence[LipsAndVoice]] = []
        mine: Sequence[LipsAndVoice] = ()
        while sum(map(len, takes)) * LIPS_S < CALL_S:
            mine, first = _anywhere([each for each in recordings if each is not mine], rng)
            takes.append(mine[first : first + int(rng.integers(1, 4))])
        calls.append(told_of_takes(policy, sync, takes))
    return calls


def _anywhere(recordings: Sequence[Sequence[LipsAndVoice]], rng: np.random.Generator) -> tuple[Sequence[LipsAndVoice], int]:
    """One of them, and the place of one of its windows."""
    mine = recordings[int(rng.integers(len(recordings)))]
    return mine, int(rng.integers(len(mine)))


def incidents(calls: Sequence[Sequence[Verdict]], policy: Policy, threshold: float) -> int:
    """How many incidents open at this threshold: above it in a mature stretch, after having been calm."""
    found = 0
    for call in calls:
        calm = True
        for verdict in call:
            p_fake = verdict.p_fake or 0.0
            if p_fake < policy.suspicious:
                calm = True
            elif calm and p_fake >= threshold and policy.is_mature(verdict.evidence_s):
                found, calm = found + 1, False
    return found


def decisive(verdicts: Sequence[Verdict], policy: Policy) -> float | None:
    """The p_fake that decides whether a recording is called fake: the highest of a mature stretch, or the last; None without either."""
    mature = [each.p_fake or 0.0 for each in verdicts if policy.is_mature(each.evidence_s)]
    last = [each.p_fake or 0.0 for each in verdicts[-1:] if policy.is_mature(each.evidence_s, last=True)]
    return max([*mature, *last], default=None)


def at_most(events: int, hours: float) -> float:
    """Upper end of the one-sided 95 % interval of a rate per hour, when this many were seen (Garwood 1936)."""
    return float(chi2.ppf(0.95, 2 * (events + 1)) / 2 / hours)


def delays_s(genuine: Cast, forged: Cast, policy: Policy, after_s: float, people: int = 100, seed: int = 4) -> list[float | None]:
    """Seconds from the begin of a forgery, `after_s` into a call, until it is called fake; None where that takes over 30 s."""
    rng = np.random.default_rng(seed)
    before, during = round(after_s / UNIT_S), round(30 / UNIT_S)
    found: list[float | None] = []
    for _ in range(people):
        values = [genuine.windows(genuine.person(rng), before, rng), forged.windows(forged.person(rng), during, rng)]
        verdicts = told(policy, np.concatenate(values))[before:]
        found.append(next((each.time_s - before * UNIT_S for each in verdicts if each.state == "fake"), None))
    return found


def told(policy: Policy, logits: Iterable[float], spans_s: Iterable[float] = repeat(UNIT_S)) -> list[Verdict]:
    """What monitor says after each value."""
    evidence, begin_s, verdicts = Evidence(policy), 0.0, []
    for logit, span_s in zip(logits, spans_s, strict=False):
        verdicts.append(evidence.add(Score("audio", None, begin_s, begin_s + span_s, float(logit))))
        begin_s += span_s
    return verdicts


def told_of_lips(policy: Policy, sync: ModalityCalibration, heard: Iterable[LipsAndVoice]) -> list[Verdict]:
    """Of windows one after the other."""
    return told_of_windows(policy, sync, _in_a_row(heard))


def told_of_takes(policy: Policy, sync: ModalityCalibration, takes: Iterable[Sequence[LipsAndVoice]]) -> list[Verdict]:
    """Of windows one after the other, with a scene cut between two takes."""
    evidence, verdicts = Evidence(policy, sync), list[Verdict]()
    for take in takes:
        verdicts += _told_of_take(evidence, _in_a_row(take, len(verdicts)))
        evidence.cut()
    return verdicts


def told_of_windows(policy: Policy, sync: ModalityCalibration, windows: Iterable[Heard]) -> list[Verdict]:
    """`windows`: they may overlap."""
    return _told_of_take(Evidence(policy, sync), windows)


def _told_of_take(evidence: Evidence, windows: Iterable[Heard]) -> list[Verdict]:
    strip = Strip()
    scores = (Score("sync", 0, start_s, end_s, None, heard=heard) for start_s, end_s, heard in windows)
    return [evidence.add(strip.of(score)) for score in scores]


def _in_a_row(heard: Iterable[LipsAndVoice], after: int = 0) -> Iterator[Heard]:
    return ((LIPS_S * place, LIPS_S * (place + 1), each) for place, each in enumerate(heard, after))


def _standard(values: Floats) -> Floats:
    standard: Floats = (values - values.mean()) / max(float(values.std()), 1e-6)
    return standard

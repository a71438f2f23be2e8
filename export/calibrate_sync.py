"""Calibrates sync: how surely a mean similarity curve of so many seconds tells a dub, and how well a window agrees with those before it.

Genuine: held-out talk into phones, the clips of one person in a row, since each is too short to show what ten seconds give; and held-out
genuine clips from the wild with their own sound, of many more people. Dubs: the same lips with other people's voices.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.data.held_out import HeldClip
from export.evidence import SeenWindow
from export.fitting import Looked, auc_interval, calibration_error, cross_fit, fit, split_logits
from export.rehearsal import at_most, correlation_of, genuine_lips, incidents, told_of_lips
from export.training import auc
from monitor.alerts.calibration import ModalityCalibration, sigmoid
from monitor.alerts.evidence import Curve, agreement_with, fitting
from monitor.alerts.policy import Policy, default_policy
from monitor.alerts.stretches import UNIT_S
from monitor.inference.detectors import LipsAndVoice
from monitor.media import Verdict

LONGEST = 4  # curves in a row, 9.6 s
PIECES = (20, 32, 45)  # steps: windows in which lips or speech were there for a part only
STRANGERS = 6  # other voices that each recording is dubbed with
REHEARSED_FROM = 3  # curves; a shorter recording makes no call
HOURS = 10.0  # of rehearsed genuine calls
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.75, 0.999  # so few people cannot show that less is safe
SHORT_BUDGET = 0.02  # share of held-out genuine recordings of one window that may be called fake
JUDGED, AGREES = ("fit", "log_s", "fit_log_s"), ("agreement",)


@dataclass(frozen=True)
class Recording:
    """Lips and voice of one transport, window after window."""

    person: str
    heard: tuple[LipsAndVoice, ...]
    fake: bool = False


def calibrate_sync(genuine: Sequence[Recording], budget: float) -> tuple[ModalityCalibration, dict[str, Any]]:
    """`genuine`: as `recordings_of` has them. `budget`: false incidents an hour."""
    dubs = dubbed(genuine)
    rows = [row for each in (*genuine, *dubs) for row in _rows(each)]
    judging, agreeing = fit(rows, [JUDGED], (), 0.0), fit([row for row in rows if AGREES[0] in row.windows[0][0]], [AGREES], (), 0.0)
    of_people: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if not row.fake:
            of_people[row.person] += [logit for logit, _ in agreeing.window_logits(row)]
    agreements = [each for each in of_people.values() if each]
    judged = ModalityCalibration(
        fusions=(*judging.fusions, *agreeing.fusions),
        threshold=0.5,
        suspicious=0.5,
        correlation=round(float(np.clip(correlation_of(agreements, agreements), 0.2, 0.9)), 3),
        spread=round(max(float(np.concatenate(agreements).std()), 0.5), 3),
    )
    policy = default_policy("sync", judged)
    tops = {fake: [_tops(each, policy, judged) for each in some] for fake, some in ((False, genuine), (True, dubs))}
    calls = genuine_lips([each.heard for each in genuine if len(each.heard) >= REHEARSED_FROM], policy, judged, HOURS)
    thresholds = (sigmoid(float(logit)) for logit in np.arange(0.0, 6.0, 0.05))
    kept = next((each for each in thresholds if incidents(calls, policy, each) <= budget * HOURS), 1.0)
    longest = max(top for each in tops[False] for top in each.mature)
    threshold = round(min(max(kept, longest + 1e-3, LOWEST_THRESHOLD), HIGHEST_THRESHOLD), 3)
    looks = [look for each in tops[False] for look in each.single]
    short = round(min(max(float(np.quantile(looks, 1 - SHORT_BUDGET, method="higher")) + 1e-3, threshold), HIGHEST_THRESHOLD), 4)
    events = incidents(calls, policy, threshold)
    numbers = _numbers(rows) | {
        **_called("stretches", [[top for each in tops[fake] for top in each.mature] for fake in (False, True)], threshold),
        **_called("single windows", [[top for each in tops[fake] for top in each.single] for fake in (False, True)], short),
        "people": len({each.person for each in genuine}),
        "false incidents per hour": events / HOURS,
        "at most (95 %)": round(at_most(events, HOURS), 3),
        "rehearsed hours": HOURS,
    }
    return judged.model_copy(update={"threshold": threshold, "short_threshold": short}), numbers


def recordings_of(
    talk: Sequence[tuple[HeldClip, Sequence[SeenWindow]]], wild: Sequence[tuple[HeldClip, Sequence[SeenWindow]]]
) -> list[Recording]:
    """One recording of each person in `talk`, whose clips share a camera; one of each genuine clip of `wild` that has sound."""
    of_people: dict[str, list[LipsAndVoice]] = defaultdict(list)
    for clip, windows in talk:
        of_people[clip.person] += _heard(windows)
    found = [Recording(person, tuple(heard)) for person, heard in of_people.items()]
    found += [Recording(clip.person or clip.path.name, tuple(_heard(windows))) for clip, windows in wild if not clip.fake]
    return [each for each in found if each.heard]


def dubbed(genuine: Sequence[Recording], seed: int = 5) -> list[Recording]:
    """The lips of each recording with the voices of some others, drawn by `seed`."""
    rng = np.random.default_rng(seed)
    dubs = []
    for each in genuine:
        others = [other for other in genuine if other.person != each.person]
        for index in rng.choice(len(others), min(STRANGERS, len(others)), replace=False):
            voices = others[index].heard
            heard = [_together(lips, voices[place % len(voices)]) for place, lips in enumerate(each.heard)]
            dubs.append(Recording(each.person, tuple(both for both in heard if not np.isnan(both.curve).all()), fake=True))
    return [dub for dub in dubs if dub.heard]


def mean_of(curves: Sequence[Curve]) -> Curve:
    """Mean of the curves that have a value at each lag; NaN where none has."""
    stacked = np.stack(curves)
    known = (~np.isnan(stacked)).sum(0)
    mean: Curve = np.where(known > 0, np.nansum(stacked, 0) / np.maximum(known, 1), np.nan).astype(np.float32)
    return mean


def _heard(windows: Sequence[SeenWindow]) -> list[LipsAndVoice]:
    return [window.heard for window in windows if window.heard is not None]


def _together(a: LipsAndVoice, b: LipsAndVoice) -> LipsAndVoice:
    """The lips of `a` with the voice of `b`."""
    n = min(len(a.lips), len(b.voice))
    return LipsAndVoice(a.lips[:n], b.voice[:n], a.seen[:n], b.spoken[:n])


def _rows(recording: Recording) -> list[Looked]:
    """Every run of 1 … `LONGEST` windows: how its mean curve looks, how its last one agrees with those before; and pieces of windows."""
    name, heard = recording.person, recording.heard
    generator = f"dub of {name}" if recording.fake else ""
    found = []
    for count in range(1, min(LONGEST, len(heard)) + 1):
        for start in range(len(heard) - count + 1):
            run = heard[start : start + count]
            features = fitting(mean_of([each.curve for each in run]), sum(each.compared_s for each in run)) | {"windows": float(count)}
            if count > 1:
                features["agreement"] = agreement_with(mean_of([each.curve for each in run[:-1]]), run[-1].curve)
            found.append(features)
    for place, each in enumerate(heard):
        steps = PIECES[place % len(PIECES)]
        part = LipsAndVoice(each.lips[:steps], each.voice[:steps], each.seen[:steps], each.spoken[:steps])
        if not np.isnan(part.curve).all():
            found.append(fitting(part.curve, part.compared_s))
    return [Looked(((features, UNIT_S),), recording.fake, name, generator) for features in found]


def _numbers(rows: Sequence[Looked]) -> dict[str, Any]:
    unseen = cross_fit(rows, [JUDGED], (), 0.0)
    numbers: dict[str, Any] = {
        "what": "windows of held-out talk and clips from the wild, and dubs of them, judged by a fit that saw neither person"
    }
    for count in (1, 2, LONGEST):
        some = [(row, each) for row, each in unseen if row.windows[0][0].get("windows") == count]
        real, fake = split_logits(some)
        if len(real) and len(fake):
            numbers[f"auc after {count} windows"] = [round(auc(real, fake), 4), *auc_interval(some)]
    return numbers | {"ece": round(calibration_error(unseen), 4)}


def _called(what: str, tops: Sequence[Sequence[float]], threshold: float) -> dict[str, list[int]]:
    """How many of the (genuine, dubbed) ones are called fake, of how many."""
    return {
        f"{word} {what} called fake": [sum(top >= threshold for top in some), len(some)]
        for word, some in zip(("genuine", "dubbed"), tops, strict=True)
    }


@dataclass(frozen=True)
class _Tops:
    """The p_fake that decides about each single window, and about each stretch of two and more."""

    single: list[float]
    mature: list[float]


def _tops(recording: Recording, policy: Policy, judged: ModalityCalibration) -> _Tops:
    heard = recording.heard
    runs = [heard[start : start + 2] for start in range(len(heard) - 1)] + ([heard] if len(heard) > 2 else [])
    single = [told_of_lips(policy, judged, [each])[-1].p_fake or 0.0 for each in heard]
    return _Tops(single, [_top(told_of_lips(policy, judged, run), policy) for run in runs])


def _top(verdicts: Sequence[Verdict], policy: Policy) -> float:
    mature = [each.p_fake or 0.0 for each in verdicts if policy.is_mature(each.evidence_s)]
    last = [each.p_fake or 0.0 for each in verdicts[-1:] if policy.is_mature(each.evidence_s, last=True)]
    return max([*mature, *last], default=0.0)

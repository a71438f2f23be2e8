"""Calibrates sync: how surely a mean similarity curve of so many seconds tells a dub, and how well a window agrees with those before it.

Genuine: the held-out talk of one person, clip after clip. Dubs: the same lips with other people's voices. The held-out clips are too
short to show what ten seconds give, so windows of one recording are put in a row.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from export.data.held_out import HeldClip
from export.evidence import SeenWindow
from export.fitting import Looked, auc_interval, calibration_error, cross_fit, fit, split_logits
from export.rehearsal import at_most, correlation_of, genuine_lips, incidents, told_of_lips
from export.training import auc
from monitor.alerts.calibration import ModalityCalibration, sigmoid
from monitor.alerts.evidence import Curve, agreement_with
from monitor.alerts.policy import Policy, default_policy
from monitor.alerts.stretches import UNIT_S
from monitor.alerts.sync import peak
from monitor.inference.detectors import LipsAndVoice
from monitor.media import Verdict

LONGEST = 4  # curves in a row, 9.6 s
LIPS_S = 2.4
HOURS = 10.0  # of rehearsed genuine calls
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.75, 0.999  # eight people cannot show that less is safe
JUDGED, AGREES = ("confidence", "log_s"), ("agreement",)


def calibrate_sync(
    talk: Sequence[HeldClip], talk_seen: Sequence[Sequence[SeenWindow]], budget: float
) -> tuple[ModalityCalibration, dict[str, Any]]:
    """`talk_seen`: what was seen of each clip of `talk`. `budget`: false incidents an hour."""
    heard = _by_person(talk, talk_seen)
    genuine = {person: [each.curve for each in mine] for person, mine in heard.items()}
    dubbed = [(person, dub(mine, others)) for person, mine in heard.items() for other, others in heard.items() if other != person]
    rows = [row for person, curves in genuine.items() for row in _rows(curves, person, fake=False)]
    rows += [row for person, curves in dubbed for row in _rows(curves, person, fake=True)]
    judging, agreeing = fit(rows, [JUDGED], (), 0.0), fit(rows, [AGREES], (), 0.0)
    of_people: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if not row.fake:
            of_people[row.person] += [logit for logit, _ in agreeing.window_logits(row)]
    values = np.concatenate([np.array(each) for each in of_people.values()])
    judged = ModalityCalibration(
        fusions=(*judging.fusions, *agreeing.fusions),
        threshold=0.5,
        suspicious=0.5,
        correlation=round(float(np.clip(correlation_of(list(of_people.values()), list(of_people.values())), 0.2, 0.9)), 3),
        spread=round(max(float(values.std()), 0.5), 3),
    )
    policy = default_policy("sync", judged)
    calls = genuine_lips(list(genuine.values()), policy, judged, HOURS)
    tops = [top for curves in genuine.values() for top in _tops(curves, policy, judged)]
    thresholds = (sigmoid(float(logit)) for logit in np.arange(0.0, 6.0, 0.05))
    kept = next((each for each in thresholds if incidents(calls, policy, each) <= budget * HOURS), 1.0)
    threshold = round(min(max(kept, max(tops) + 1e-3, LOWEST_THRESHOLD), HIGHEST_THRESHOLD), 3)
    numbers = _numbers(rows, [top for _, curves in dubbed for top in _tops(curves, policy, judged)], tops, threshold)
    events = incidents(calls, policy, threshold)
    numbers["people"] = len(heard)
    numbers |= {"false incidents per hour": events / HOURS, "at most (95 %)": round(at_most(events, HOURS), 3), "rehearsed hours": HOURS}
    return judged.model_copy(update={"threshold": threshold}), numbers


def _numbers(rows: Sequence[Looked], forged_tops: Sequence[float], genuine_tops: Sequence[float], threshold: float) -> dict[str, Any]:
    unseen = cross_fit(rows, [JUDGED], (), 0.0)
    numbers: dict[str, Any] = {"what": "windows of held-out talk in a row, and dubs of them, judged by a fit that saw neither person"}
    for count in (1, 2, LONGEST):
        some = [(row, each) for row, each in unseen if math.isclose(row.windows[0][0]["log_s"], math.log(count * LIPS_S))]
        real, fake = split_logits(some)
        if len(real) and len(fake):
            numbers[f"auc after {count * LIPS_S:.1f} s"] = [round(auc(real, fake), 4), *auc_interval(some)]
    return numbers | {
        "ece": round(calibration_error(*split_logits(unseen)), 4),
        "genuine stretches called fake": [sum(top >= threshold for top in genuine_tops), len(genuine_tops)],
        "dubbed stretches called fake": [sum(top >= threshold for top in forged_tops), len(forged_tops)],
    }


def mean_of(curves: Sequence[Curve]) -> Curve:
    """Mean of the curves that have a value at each lag; NaN where none has."""
    stacked = np.stack(curves)
    known = (~np.isnan(stacked)).sum(0)
    mean: Curve = np.where(known > 0, np.nansum(stacked, 0) / np.maximum(known, 1), np.nan).astype(np.float32)
    return mean


def dub(lips: Sequence[LipsAndVoice], voices: Sequence[LipsAndVoice]) -> list[Curve]:
    """The curves that the lips of one person give with the voice of another."""
    pairs = [(seen, voices[index % len(voices)]) for index, seen in enumerate(lips)]
    curves = [
        LipsAndVoice(a.lips[:n], b.voice[:n], a.seen[:n], b.spoken[:n]).curve for a, b in pairs for n in [min(len(a.lips), len(b.voice))]
    ]
    return [curve for curve in curves if not np.isnan(curve).all()]


def _by_person(talk: Sequence[HeldClip], seen: Sequence[Sequence[SeenWindow]]) -> dict[str, list[LipsAndVoice]]:
    """Windows of each person, clip after clip."""
    heard: dict[str, list[LipsAndVoice]] = defaultdict(list)
    for clip, windows in zip(talk, seen, strict=True):
        heard[clip.person] += [window.heard for window in windows if window.heard is not None and not np.isnan(window.heard.curve).all()]
    return {person: each for person, each in heard.items() if each}


def _rows(curves: Sequence[Curve], person: str, *, fake: bool) -> list[Looked]:
    """Every run of 1 … `LONGEST` curves: how its mean looks, and how its last curve agrees with those before."""
    rows = []
    for count in range(1, min(LONGEST, len(curves)) + 1):
        for start in range(len(curves) - count + 1):
            run = curves[start : start + count]
            mean = mean_of(run)
            features = {"confidence": peak(mean)[1], "log_s": math.log(count * LIPS_S)}
            if count > 1:
                features["agreement"] = agreement_with(mean_of(run[:-1]), run[-1])
            rows.append(Looked(((features, UNIT_S),), fake, person, f"dub of {person}" if fake else ""))
    return rows


def _tops(curves: Sequence[Curve], policy: Policy, judged: ModalityCalibration) -> list[float]:
    """The p_fake that decides about each recording of two curves (a clip of five seconds), and about all together."""
    runs = [curves[start : start + 2] for start in range(max(1, len(curves) - 1))] + [curves]
    return [_top(told_of_lips(policy, judged, run), policy) for run in runs]


def _top(verdicts: Sequence[Verdict], policy: Policy) -> float:
    mature = [each.p_fake or 0.0 for each in verdicts if policy.is_mature(each.evidence_s)]
    last = [each.p_fake or 0.0 for each in verdicts[-1:] if policy.is_mature(each.evidence_s, last=True)]
    return max([*mature, *last], default=0.0)

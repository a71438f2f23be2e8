"""Calibrates sync: how surely a mean similarity curve of so many seconds tells a dub, and how well a window agrees with those before it.

Genuine: held-out talk into phones, the clips of one person in a row, since each is too short to show what ten seconds give; and held-out
genuine clips from the wild, of many more people; each also with late and early sound, as a transport may deliver it. Whether the sound of
those is their own is not known for most (`label_audio` is `unknown`); it is taken for theirs, which can only raise thresholds.
Dubs: the same lips with other people's voices.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from export.data.held_out import HeldClip
from export.evidence import SeenWindow
from export.fitting import Looked, auc_interval, calibration_error, cross_fit, fit, split_logits
from export.rehearsal import at_most, correlation_of, decisive, genuine_cuts, genuine_lips, incidents, told_of_lips, told_of_windows
from export.rehearse_turns import ByTurns, told_of_turns
from export.training import auc
from monitor.alerts.bonds import Curve, agreement_at, fitting
from monitor.alerts.calibration import ModalityCalibration, sigmoid
from monitor.alerts.policy import Policy, default_policy
from monitor.alerts.stretches import UNIT_S
from monitor.alerts.sync import STEP_S, Compared, Strip, compared
from monitor.media import LipsAndVoice, Verdict

LONGEST = 4  # curves in a row, 9.6 s
PIECES = (20, 32, 45)  # steps: windows in which lips or speech were there for a part only
STRANGERS = 6  # other voices that each recording is dubbed with
REHEARSED_FROM = 3  # curves; a shorter recording makes no call
HOURS = 10.0  # of rehearsed genuine calls
LATE_BUDGET = 0.01  # share of genuine stretches with sound made late or early that may be called fake; of those as found none may
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.85, 0.999  # so few people cannot show that less is safe
LATE_STEPS = (4, -4, 10, -10, 20, -20, 24, -24)  # of the sound of genuine recordings, beside what they have: some 0.2 s
JUDGED, AGREES = ("fit", "log_s", "fit_log_s"), ("agreement",)

Clip = tuple[HeldClip, Sequence[SeenWindow]]


@dataclass(frozen=True)
class Recording:
    """Lips and voice of one transport, window after window."""

    person: str
    heard: tuple[LipsAndVoice, ...]
    fake: bool = False


def calibrate_sync(
    genuine: Sequence[Recording], clips: Sequence[Clip], by_turns: ByTurns, budget: float
) -> tuple[ModalityCalibration, dict[str, Any]]:
    """`genuine`: as `recordings_of` has them; `clips`: what they were made of. `budget`: false incidents an hour."""
    dubs = dubbed(genuine)
    late = [shifted(each, LATE_STEPS[place % len(LATE_STEPS)]) for place, each in enumerate(genuine) if len(each.heard) > 1]
    rows = [row for each in (*genuine, *dubs) for row in _rows(each, 1)] + [row for each in late for row in _rows(each, 2)]
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
    tops = [[_tops(each, policy, judged) for each in some] for some in (genuine, dubs)]
    late_tops = [_tops(shifted(each, steps), policy, judged) for each in genuine if len(each.heard) > 1 for steps in LATE_STEPS]
    calls = genuine_lips([each.heard for each in genuine if len(each.heard) >= REHEARSED_FROM], policy, judged, HOURS)
    cut = genuine_cuts([each.heard for each in genuine], policy, judged, HOURS)
    turns = [told_of_turns(call, policy, judged)[0] for call in by_turns.genuine]
    kept = _budget_kept(policy, [(calls, budget * HOURS), (cut, budget * HOURS), (turns, budget * by_turns.hours)])
    longest = max(top for each in tops[0] for top in each.mature)
    late_ones = float(np.quantile([top for each in late_tops for top in each.mature], 1 - LATE_BUDGET, method="higher"))
    threshold = round(min(max(kept, longest + 1e-3, late_ones + 1e-3, LOWEST_THRESHOLD), HIGHEST_THRESHOLD), 3)
    found = [_as_found(windows, policy, judged) for clip, windows in clips if not clip.fake]
    looks = max([*found, *(look for each in tops[0] for look in each.single)])
    short = round(min(max(looks + 1e-3, threshold), HIGHEST_THRESHOLD), 4)  # less evidence never suffices sooner
    judged = judged.model_copy(update={"threshold": threshold, "short_threshold": short})
    events = incidents(calls, policy, threshold)
    numbers = _numbers(rows) | {
        **_called("stretches", [[top for each in some for top in each.mature] for some in tops], threshold),
        **_called("single windows", [[top for each in some for top in each.single] for some in tops], short),
        "genuine stretches with late or early sound called fake": _share([top for each in late_tops for top in each.mature], threshold),
        "genuine single windows with late or early sound called fake": _share([top for each in late_tops for top in each.single], short),
        "genuine short clips as found, to the last 0.4 s, called fake": _share([each for each in found if each], short),
        "people": len({each.person for each in genuine}),
        "false incidents per hour": events / HOURS,
        "false incidents per hour with a scene cut every 2.4 to 7.2 s": incidents(cut, policy, threshold) / HOURS,
        "at most (95 %)": round(at_most(events, HOURS), 3),
        "rehearsed hours": HOURS,
        "people by turns, cut every 1.2 to 4 s": _numbers_of_turns(by_turns, turns, judged),
    }
    return judged, numbers


def recordings_of(talk: Sequence[Clip], wild: Sequence[Clip]) -> list[Recording]:
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
            dubs.append(Recording(each.person, tuple(both for both in heard if _known(both)), fake=True))
    return [dub for dub in dubs if dub.heard]


def shifted(recording: Recording, steps: int) -> Recording:
    """The recording with sound that comes `steps` of 40 ms late; what runs out at its end is heard at its beginning."""
    voice, spoken = (
        np.roll(np.concatenate(parts), steps, 0) for parts in zip(*((each.voice, each.spoken) for each in recording.heard), strict=True)
    )
    stops = np.cumsum([len(each.lips) for each in recording.heard])
    heard = [
        LipsAndVoice(each.lips, voice[stop - len(each.lips) : stop], each.seen, spoken[stop - len(each.lips) : stop])
        for each, stop in zip(recording.heard, stops, strict=True)
    ]
    return Recording(recording.person, tuple(heard))


def mean_of(curves: Sequence[Curve]) -> Curve:
    """Mean of the curves that have a value at each lag; NaN where none has."""
    stacked = np.stack(curves)
    known = (~np.isnan(stacked)).sum(0)
    mean: Curve = np.where(known > 0, np.nansum(stacked, 0) / np.maximum(known, 1), np.nan).astype(np.float32)
    return mean


def _heard(windows: Sequence[SeenWindow]) -> list[LipsAndVoice]:
    """Without the last window of a clip, which shows lips again."""
    known = [window for window in windows if window.heard is not None]
    found = known[:1] + [after for before, after in pairwise(known) if after.start_s >= before.end_s - STEP_S]
    return [window.heard for window in found if window.heard is not None]


def _together(a: LipsAndVoice, b: LipsAndVoice) -> LipsAndVoice:
    """The lips of `a` with the voice of `b`."""
    n = min(len(a.lips), len(b.voice))
    return LipsAndVoice(a.lips[:n], b.voice[:n], a.seen[:n], b.spoken[:n])


def _known(heard: LipsAndVoice) -> bool:
    return not np.isnan(compared(heard).curve).all()


def _rows(recording: Recording, least: int) -> list[Looked]:
    """Every run of `least` … `LONGEST` windows: how its mean curve looks, how its last one agrees with those before; of one window, pieces
    of it too.
    """
    name, heard = recording.person, recording.heard
    generator = f"dub of {name}" if recording.fake else ""
    found = []
    for count in range(least, min(LONGEST, len(heard)) + 1):
        for start in range(len(heard) - count + 1):
            run = in_a_row(heard[start : start + count])
            features = fitting(mean_of([each.curve for each in run]), sum(each.seconds for each in run)) | {"windows": float(count)}
            if count > 1:
                before = mean_of([each.curve for each in run[:-1]])
                features["agreement"] = 0.0 if np.isnan(before).all() else agreement_at(int(np.nanargmax(before)), run[-1].curve)
            found.append(features)
    for place, each in enumerate(heard if least == 1 else ()):
        steps = PIECES[place % len(PIECES)]
        part = compared(LipsAndVoice(each.lips[:steps], each.voice[:steps], each.seen[:steps], each.spoken[:steps]))
        if not np.isnan(part.curve).all():
            found.append(fitting(part.curve, part.seconds))
    return [Looked(((features, UNIT_S),), recording.fake, name, generator) for features in found]


def in_a_row(heard: Sequence[LipsAndVoice]) -> list[Compared]:
    strip, end_s = Strip(), 0.0
    found = []
    for each in heard:
        found.append(strip.add(each, end_s))
        end_s += len(each.lips) * STEP_S
    return found


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


def _budget_kept(policy: Policy, rehearsed: Sequence[tuple[Sequence[Sequence[Verdict]], float]]) -> float:
    """The lowest threshold at which none of the rehearsals opens more incidents than it may."""
    thresholds = (sigmoid(float(logit)) for logit in np.arange(0.0, 6.0, 0.05))
    return next((each for each in thresholds if all(incidents(calls, policy, each) <= most for calls, most in rehearsed)), 1.0)


def _numbers_of_turns(by_turns: ByTurns, turns: Sequence[Sequence[Verdict]], judged: ModalityCalibration) -> dict[str, Any]:
    """`turns`: what is said of the genuine ones."""
    policy = default_policy("sync", judged)
    events, noticed = incidents(turns, policy, judged.threshold), 0
    for dub, call in by_turns.dubbed:
        opened = told_of_turns(call, policy, judged)[1]
        noticed += any(each.since_s < dub.end_s and each.time_s > dub.start_s for each in opened)
    return {
        "false incidents per hour": round(events / by_turns.hours, 3),
        "at most (95 %)": round(at_most(events, by_turns.hours), 3),
        "rehearsed hours": round(by_turns.hours, 2),
        "dubs of 3.5 to 7 s noticed": [noticed, len(by_turns.dubbed)],
    }


def _called(what: str, tops: Sequence[Sequence[float]], threshold: float) -> dict[str, list[int]]:
    """How many of the (genuine, dubbed) ones are called fake, of how many."""
    return {f"{word} {what} called fake": _share(some, threshold) for word, some in zip(("genuine", "dubbed"), tops, strict=True)}


def _share(tops: Sequence[float], threshold: float) -> list[int]:
    return [sum(top >= threshold for top in tops), len(tops)]


@dataclass(frozen=True)
class _Tops:
    """The p_fake that decides about each single window, and about each stretch of two and more."""

    single: list[float]
    mature: list[float]


def _tops(recording: Recording, policy: Policy, judged: ModalityCalibration) -> _Tops:
    heard = recording.heard
    runs = [heard[start : start + 2] for start in range(len(heard) - 1)] + ([heard] if len(heard) > 2 else [])
    single = [told_of_lips(policy, judged, [each])[-1].p_fake or 0.0 for each in heard]
    return _Tops(single, [decisive(told_of_lips(policy, judged, run), policy) or 0.0 for run in runs])


def _as_found(windows: Sequence[SeenWindow], policy: Policy, judged: ModalityCalibration) -> float:
    """The p_fake of a clip too short for a stretch, once it ended: 0 for a longer one, and where nothing was compared."""
    heard = [(each.start_s, each.end_s, each.heard) for each in windows if each.heard is not None]
    told = told_of_windows(policy, judged, heard)[-1:]
    return max((each.p_fake or 0.0 for each in told if not policy.is_mature(each.evidence_s, last=True)), default=0.0)

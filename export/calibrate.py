"""Fuse and calibrate the shipped models on clips that none of them was trained on, and set thresholds from a false-alarm budget.

    python -m export.calibrate [--pool DIR] [--models exported_models] [--budget 0.1]

Writes MODELS/calibration.json. Every clip goes through monitor's own pipeline, as it is and worn by a poor call; what was seen stays in
the cache. Fits are judged on clips whose generator and person they did not see. Prints what the thresholds give and cost in delay.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from export.calibrate_sync import calibrate_sync, recordings_of
from export.command_line import Arguments, command
from export.data.held_out import TALK, HeldClip, held_faces, held_talk, held_voices
from export.data.pool import even_shares, pool_folder
from export.data.worn import Worn
from export.evidence import File, SeenWindow, load_models, look_at_all
from export.fitting import MIN_GAIN, Fit, Looked, auc_interval, calibration_error, cross_fit, fit, helpful, log_loss, split_logits, visible
from export.rehearsal import Floats, at_most, cast, correlation_of, decisive, delays_s, genuine_calls, incidents, told
from export.rehearse_turns import rehearse_turns
from export.steps import cost_of_steps, fit_steps, joined_calls, step_incidents
from export.training import auc
from monitor.alerts.calibration import Calibration, ModalityCalibration, StepModel, log_odds, sigmoid
from monitor.alerts.changes import pieces
from monitor.alerts.policy import Policy, default_policy
from monitor.inference.engine import JUDGES
from monitor.inference.session import Model
from monitor.media import Modality, Verdict

FUSIONS: dict[str, list[list[tuple[str, ...]]]] = {
    "audio": [[("voice",)], [("voice", "av_audio"), ("voice",)]],
    "video": [[("face",)], [("face", "mouth"), ("face",)]],
}
QUALITIES = {"audio": ("snr_db", "rolloff_hz", "speech_s"), "video": ("face_px", "face_sharpness")}
STEPPING = ("audio",)
"""Modalities in which a step within a call counts. Not faces: their steps told 0 of 30 forged stretches of made calls, and one an hour of a
simulated genuine person who looks as odd as one in forty does."""
LOWEST = {"audio": ("snr_db",), "video": ("face_px", "face_sharpness")}  # poorer than any clip seen: not judged
WORN_EVERY = 3  # clips, for one that is looked at worn too
HOURS = 10.0  # of rehearsed genuine calls
HIGHEST_THRESHOLD = 0.999
CLIP_BUDGET = {"audio": 0.03, "video": 0.0}
"""Share of held-out genuine clips that may be called fake, every collection weighing alike. Calls have a budget of their own."""
TAIL = 0.4  # of genuine clips, the most suspicious ones: how these fall off says where the budget lies

Seen = tuple[HeldClip, Sequence[SeenWindow]]


@dataclass(frozen=True)
class Held:
    """Clips that one modality is fitted on, and genuine talk that only its thresholds are set with."""

    clips: list[Looked]
    talk: list[Looked]


@command
def main() -> None:
    parser = Arguments(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--models", type=Path, default=Path("exported_models"))
    parser.add_argument("--budget", type=float, default=0.1, help="false incidents an hour of genuine call, for each modality")
    options = parser.parse_args()
    pool, models = pool_folder(options.pool), load_models(options.models)
    talk, worn_talk = _seen(held_talk(pool), models, "held-out talk")
    held: dict[Modality, list[HeldClip]] = {"audio": held_voices(pool), "video": held_faces(pool)}
    seen = {name: [*chain(*_seen(clips, models, f"held-out clips for {name}"))] for name, clips in held.items()}
    fitted = {name: calibrate(name, Held(looked(clips, name), looked(talk, name)), options.budget) for name, clips in seen.items()}
    wild = [*worn_talk, *seen["video"]]
    by_turns = rehearse_turns([*talk, *seen["video"]], models)
    fitted["sync"] = calibrate_sync(recordings_of(talk, wild), [*talk, *wild], by_turns, options.budget)
    calibration = Calibration(
        **{name: modality for name, (modality, _) in fitted.items()},
        models_sha256={name: models[name].info.sha256 for name in JUDGES},
        fitted_on="clips of the pool held out from training, by generator, person and source page; see numbers",
        made_with=f"python -m export.calibrate --budget {options.budget}",
        numbers={name: numbers for name, (_, numbers) in fitted.items()},
    )
    (options.models / "calibration.json").write_text(calibration.model_dump_json(indent=1) + "\n")
    for name, (modality, numbers) in fitted.items():
        print(f"{name}: threshold {modality.threshold}, correlation {modality.correlation}, spread {modality.spread}")
        print("".join(f"  {key}: {value}\n" for key, value in numbers.items()), end="")


def calibrate(name: Modality, held: Held, budget: float) -> tuple[ModalityCalibration, dict[str, Any]]:
    """The calibration of audio or video, and what it gives on unseen clips and in rehearsed calls."""
    correlation = 0.5
    for _ in range(2):  # the correlation is that of log-odds, and they depend on it a little
        simple, full = FUSIONS[name]
        losses = [log_loss(cross_fit(held.clips, each, (), correlation)) for each in (simple, full)]
        names = full if losses[1] < losses[0] - MIN_GAIN else simple
        rough = fit(held.clips, names, (), correlation)
        talk = _by_person([(clip, rough) for clip in held.talk])
        everybody = talk + _by_person([(clip, rough) for clip in held.clips if not clip.fake])
        correlation = round(float(np.clip(correlation_of(talk, everybody), 0.2, 0.9)), 3)
    qualities, by_quality = helpful(held.clips, names, QUALITIES[name], correlation)
    unseen, final = cross_fit(held.clips, names, qualities, correlation), fit(held.clips, names, qualities, correlation)
    looks = visible([*unseen, *((clip, final) for clip in held.talk)], correlation)
    final = replace(final, visible=looks)
    plain = [(clip, replace(each, visible=looks)) for clip, each in unseen] + [(clip, final) for clip in held.talk]
    genuine, forged = (_by_person([pair for pair in plain if pair[0].fake == fake]) for fake in (False, True))
    spread = round(float(np.mean([np.concatenate(side).std() for side in (genuine, forged)])), 3)
    judged = final.calibration.model_copy(update={"seen_from": _seen_from(held.clips, LOWEST[name]), "spread": spread})
    policy = default_policy(name, judged)
    callers = cast(_by_person([(clip, final) for clip in held.talk]), correlation)
    calls = genuine_calls(callers, policy, HOURS)
    threshold = round(max(threshold_of_calls(calls, policy, budget), threshold_of_clips(plain, policy, CLIP_BUDGET[name])), 3)
    policy, judged = replace(policy, threshold=threshold), judged.model_copy(update={"threshold": threshold})
    numbers = _numbers_of_clips(plain, policy) | _numbers_of_calls(calls, policy)
    numbers["log loss of unseen clips by quality"] = by_quality
    if name in STEPPING:
        step, numbers["steps"] = calibrate_steps(held, policy)
        judged = judged.model_copy(update={"step": step})
    for after_s in (0.0, 7.2, 60.0):
        late = delays_s(callers, cast(forged, correlation), policy, after_s)
        noticed = [each for each in late if each is not None]
        middle = round(float(np.median(noticed)), 1) if noticed else None
        numbers[f"forgery after {after_s:g} s"] = {"noticed within 30 s": round(len(noticed) / len(late), 3), "median delay s": middle}
    return judged, numbers


def calibrate_steps(held: Held, policy: Policy) -> tuple[StepModel, dict[str, Any]]:
    """What a step within a call means, and how often one is told in rehearsed genuine calls other than those that chose its cost."""
    model = fit_steps(held.clips, held.talk)
    step = cost_of_steps(model, policy, joined_calls(held.talk, HOURS))
    fresh = joined_calls(held.talk, HOURS, seed=7)
    events = sum(step_incidents(call, replace(policy, step=step)) for call in fresh)
    return step, {"false incidents per hour": round(events / HOURS, 3), "at most (95 %)": round(at_most(events, HOURS), 3)}


def threshold_of_calls(calls: Sequence[Sequence[Verdict]], policy: Policy, budget: float) -> float:
    """The lowest one at which the rehearsed calls keep the budget (false incidents an hour)."""
    thresholds = (sigmoid(float(logit)) for logit in np.arange(0.0, 6.0, 0.05))
    return min(next((each for each in thresholds if incidents(calls, policy, each) <= budget * HOURS), 1.0), HIGHEST_THRESHOLD)


def threshold_of_clips(pairs: Sequence[tuple[Looked, Fit]], policy: Policy, budget: float) -> float:
    """Above which no more than this share of the genuine clips comes; where none may, none comes within a standard deviation of it either,
    as the most suspicious of a hundred clips is not the most suspicious there is.
    """
    found = [(log_odds(top), clip.kind) for clip, fitted in pairs if not clip.fake and (top := highest(clip, fitted, policy))]
    tops, share = np.array([top for top, _ in found]), even_shares([kind for _, kind in found])
    limit = tail_from(tops, share, budget) if budget else float(tops.max() + tops.std())
    return min(sigmoid(limit) + 1e-3, HIGHEST_THRESHOLD)


def tail_from(values: Floats, share: Floats, budget: float) -> float:
    """Above which this share of the values lies if those of TAIL fall off exponentially (Pickands 1975, peaks over threshold).

    Their own quantile hangs on the ten strangest clips: over resampled people it strays by .45 of log-odds, this by .30, and both leave
    3.3 % of the people who were not drawn above.
    """
    begin = float(np.quantile(values, 1 - TAIL, weights=share, method="inverted_cdf"))
    above = values > begin
    return begin + float(np.average(values[above] - begin, weights=share[above])) * float(np.log(share[above].sum() / share.sum() / budget))


def highest(clip: Looked, fitted: Fit, policy: Policy) -> float | None:
    """The p_fake that decides whether this clip is called fake."""
    found = fitted.window_logits(clip)
    return decisive(told(policy, [logit for logit, _ in found], [span_s for _, span_s in found]), policy)


def _numbers_of_clips(pairs: Sequence[tuple[Looked, Fit]], policy: Policy) -> dict[str, Any]:
    genuine, forged = split_logits(pairs)
    tops = [(top, clip.fake) for clip, fitted in pairs if (top := highest(clip, fitted, policy)) is not None]
    called = {fake: sum(top >= policy.threshold for top, each in tops if each == fake) for fake in (False, True)}
    talk = [top for clip, fitted in pairs if clip.kind == TALK and (top := highest(clip, fitted, policy)) is not None]
    return {
        "what": "clips as they are and worn, each judged by a fit that saw neither its person nor its generator; talk never fitted",
        "genuine": len(genuine),
        "forged": len(forged),
        "auc": [round(auc(genuine, forged), 4), *auc_interval(pairs)],
        "ece": round(calibration_error(pairs), 4),
        "genuine called fake": called[False],
        "of these, of talk": [sum(top >= policy.threshold for top in talk), len(talk)],
        "forged called fake": called[True],
    }


def _numbers_of_calls(calls: Sequence[Sequence[Verdict]], policy: Policy) -> dict[str, Any]:
    events = incidents(calls, policy, policy.threshold)
    return {
        "false incidents per hour": round(events / HOURS, 3),
        "at most (95 %)": round(at_most(events, HOURS), 3),
        "rehearsed hours": HOURS,
    }


def _seen(held: Sequence[HeldClip], models: dict[str, Model], what: str) -> tuple[list[Seen], list[Seen]]:
    """The clips as they are, and some of them worn, each another way."""
    some = held[::WORN_EVERY]
    plain = look_at_all([File(clip.path) for clip in held], models, what)
    worn = look_at_all([Worn(clip.path, seed) for seed, clip in enumerate(some)], models, f"{what}, worn")
    return list(zip(held, plain, strict=True)), list(zip(some, worn, strict=True))


def looked(seen: Sequence[Seen], name: Modality) -> list[Looked]:
    """The clips that have something to judge, counted as `alerts.evidence` counts them: voices in seconds of speech."""
    found = []
    for clip, windows in seen:
        features = ((w.voice, w.speech_s) if name == "audio" else (w.face, w.fresh_s) for w in windows)
        judged = tuple((each, evidence_s) for each, evidence_s in features if each)
        if judged:
            moments = (pieces(w.voice_moments, w.fresh_from_s, w.end_s) for w in windows)
            small = tuple((value, span_s) for value, _, span_s in chain(*moments))
            found.append(Looked(judged, clip.fake, clip.person or clip.path.name, clip.generator, clip.kind, small))
    return found


def _by_person(pairs: Sequence[tuple[Looked, Fit]]) -> list[list[float]]:
    """Window log-odds of each person, of each generator for forged clips."""
    groups: dict[str, list[float]] = defaultdict(list)
    for clip, fitted in pairs:
        groups[clip.tie] += [logit for logit, _ in fitted.window_logits(clip)]
    return [group for group in groups.values() if group]


def _seen_from(clips: Sequence[Looked], qualities: Sequence[str]) -> dict[str, float]:
    """The poorest thousandth of each quality."""
    found = {name: [features[name] for clip in clips for features, _ in clip.windows if name in features] for name in qualities}
    return {name: round(float(np.quantile(values, 0.001)), 4) for name, values in found.items() if values}


if __name__ == "__main__":
    main()

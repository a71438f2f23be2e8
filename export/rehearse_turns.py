"""Rehearses sync where cuts fall as they fall in calls: held-out people by turns, through monitor's own looking, nets and incidents.

`rehearsal.genuine_cuts` joins whole windows: there no window spans a cut, and no face is lost or found anew.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from export.data.held_out import HeldClip
from export.data.pool import PoolError
from export.data.turns import Dub, Turns, drawn_turns
from export.evidence import UNCALIBRATED, SeenWindow, of_each_window
from export.rehearsal import CALL_S
from monitor.alerts.calibration import ModalityCalibration
from monitor.alerts.incidents import Incidents
from monitor.alerts.policy import Policies, Policy
from monitor.alerts.speakers import Speakers
from monitor.inference.detectors import Detectors
from monitor.inference.session import Model
from monitor.media import Alert, Score, Verdict, Window

GENUINE_CALLS = 8  # of some 500 s
DUBBED_CALLS = 100
DUBBED_CALL_S = 20.0
DUB_S = (3.5, 7.0)
BEGINS_S, ENDS_S = 2.5, 15.0  # of dubs: before and behind them all is genuine
VOICE_S = 1.2  # that a voice is taken to last at least
LEAST_PEOPLE = 18  # so that somebody is left to dub a call in which all turns are short and of others
Call = Sequence[Sequence[Score]]
"""What sync rests on, window after window: which faces were judged, and lips beside a voice."""


@dataclass(frozen=True)
class ByTurns:
    """Genuine calls, and such with a dub."""

    genuine: Sequence[Call]
    dubbed: Sequence[tuple[Dub, Call]]

    @property
    def hours(self) -> float:
        """Of the genuine ones."""
        return sum(call[-1][-1].end_s for call in self.genuine if call) / 3600


def rehearse_turns(seen: Sequence[tuple[HeldClip, Sequence[SeenWindow]]], models: dict[str, Model]) -> ByTurns:
    """Of the genuine clips of `seen`; their windows are cached, as those of clips are. Raises PoolError for too few people."""
    clips = talking(seen)
    if len(clips) < LEAST_PEOPLE:
        raise PoolError(f"{len(clips)} held-out people talk where {LEAST_PEOPLE} must, to speak by turns; is the pool complete?")
    dubbed = dubbed_turns(clips, DUBBED_CALLS)
    found = look_at_turns(dubbed, models, "dubs in calls by turns")
    dubs = [(call.dub, scores) for call, scores in zip(dubbed, found, strict=True) if call.dub is not None]
    return ByTurns(look_at_turns(genuine_turns(clips, GENUINE_CALLS), models, "people by turns"), dubs)


def talking(seen: Sequence[tuple[HeldClip, Sequence[SeenWindow]]]) -> dict[str, list[Path]]:
    """The genuine clips whose lips can be compared with their voice, by person. Of a clip that was seen worn too, the first look counts."""
    clips: dict[str, list[Path]] = defaultdict(list)
    known: set[Path] = set()
    for clip, windows in seen:
        if clip.path not in known and not clip.fake and any(window.heard is not None for window in windows):
            clips[clip.person or clip.path.name].append(clip.path)
        known.add(clip.path)
    return dict(sorted(clips.items()))


def genuine_turns(clips: Mapping[str, Sequence[Path]], count: int, seed: int = 3) -> list[Turns]:
    """Calls of CALL_S, less what short clips lack."""
    return [Turns(drawn_turns(clips, CALL_S, np.random.default_rng([seed, call]))) for call in range(count)]


def dubbed_turns(clips: Mapping[str, Sequence[Path]], count: int, seed: int = 3) -> list[Turns]:
    """Calls of DUBBED_CALL_S in which for some seconds somebody speaks who is not in them."""
    return [_dubbed(clips, np.random.default_rng([seed, call])) for call in range(count)]


def look_at_turns(calls: Sequence[Turns], models: dict[str, Model], what: str) -> list[Call]:
    """Of each call what `told_of_turns` needs."""

    async def look(detectors: Detectors, window: Window) -> list[Score]:
        return [_bare(score) for score in await detectors.judge(window) if score.modality != "audio"]

    return list(of_each_window(calls, models, UNCALIBRATED, look, what))


def told_of_turns(call: Call, policy: Policy, sync: ModalityCalibration) -> tuple[list[Verdict], list[Alert]]:
    """Verdicts and opened incidents of sync."""
    speakers, incidents = Speakers(sync), Incidents("call", Policies(policy, policy, policy, sync))
    events = [event for scores in call for event in incidents.add(speakers.of(scores))]
    return [event for event in events if isinstance(event, Verdict) and event.modality == "sync"], [
        event for event in events if isinstance(event, Alert) and event.kind == "opened"
    ]


def _dubbed(clips: Mapping[str, Sequence[Path]], rng: np.random.Generator) -> Turns:
    turns = drawn_turns(clips, DUBBED_CALL_S, rng)
    shown = {turn.path for turn in turns}
    others = [path for paths in clips.values() if not shown.intersection(paths) for path in paths]
    seconds = float(rng.uniform(*DUB_S))
    start_s = float(rng.uniform(BEGINS_S, ENDS_S - seconds))
    voices = rng.choice(len(others), min(len(others), round(seconds / VOICE_S) + 1), replace=False)
    return Turns(turns, Dub(start_s, start_s + seconds, tuple(others[index] for index in voices)))


def _bare(score: Score) -> Score:
    """What of a face matters here is that it was there."""
    return score if score.modality == "sync" else replace(score, logit=None, reason="no_face", heatmap=None, moments=())

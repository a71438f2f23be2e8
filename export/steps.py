"""Fits what a step in one person's scores means (see `monitor.alerts.changes`), and rehearses calls in which nobody steps for a forgery.

The rehearsed calls are made of what held-out people's own recordings showed, moment by moment: clips of one person in any order, in every
second call two people in turn. Every seam between two recordings is a step that a real call would hardly have.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from export.fitting import Looked, Piece
from export.rehearsal import CALL_S
from monitor.alerts.calibration import StepModel, log_odds
from monitor.alerts.changes import Changes
from monitor.alerts.policy import Policy
from monitor.alerts.stretches import UNIT_S

ANOTHER = 0.05  # of genuine steps: another speaker, another place
COSTS = np.arange(0.0, 9.0, 0.25)
MARGIN = 0.5  # the loudest of sixty calls is not the loudest there is: without it ten fresh hours had five incidents where one was allowed
TURNS = 3  # clips that one of two people speaks for
LEAST_DEVIATION = 0.1
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Level:
    mean: float
    units: float
    clip: Looked


def fit_steps(clips: Sequence[Looked], talk: Sequence[Looked]) -> StepModel:
    """`clips`: genuine and forged, `talk`: genuine, several of each person; no model was trained on any. Without `cost`: see
    `cost_of_steps`. How people differ is taken from all genuine clips, how one person strays from talk alone, whose clips are all alike.

    A forgery's rise is measured against the mean genuine level. Half of the forgeries show less than the models can see, so the mean rise
    is that of the other half; the spread is that of all.
    """
    levels, noise = _levels([*clips, *talk]), _noise(talk)
    level, between = _people(_by_person([each for each in levels if not each.clip.fake]), noise)
    rises = np.array([each.mean - level for each in levels if each.clip.fake])
    return StepModel(
        level=round(level, 3),
        people=round(between, 3),
        noise=round(noise, 3),
        drift=round(_drift(_by_person(_levels(talk)), noise), 3),
        rise=round(float(rises[rises >= np.median(rises)].mean()), 3),
        rise_spread=round(max(float(rises.std()), LEAST_DEVIATION), 3),
        another=ANOTHER,
        cost=0.0,
    )


def cost_of_steps(model: StepModel, policy: Policy, calls: Sequence[Sequence[Piece]]) -> StepModel:
    """The same with the lowest cost at which no incident opens in these genuine calls at the policy's threshold, and MARGIN more."""
    left = list(calls)
    for cost in COSTS:
        priced = model.model_copy(update={"cost": float(cost)})
        left = [call for call in left if step_incidents(call, replace(policy, step=priced))]  # the quiet stay quiet at a higher cost
        if not left:
            break
    return model.model_copy(update={"cost": float(cost) + MARGIN})


def step_incidents(call: Sequence[Piece], policy: Policy) -> int:
    """How many incidents the steps of a call open by themselves."""
    assert policy.step is not None
    changes, found, calm = Changes(policy.step), 0, True
    from_log_odds, calm_below = log_odds(policy.threshold), log_odds(policy.suspicious)
    begin_s = 0.0
    for value, span_s in call:
        step = changes.add(value, begin_s, span_s)
        begin_s += span_s
        if step.log_odds < calm_below:
            calm = True
        elif calm and step.log_odds >= from_log_odds and policy.is_mature(step.seconds):
            found, calm = found + 1, False
    return found


def joined_calls(talk: Sequence[Looked], hours: float, seed: int = 6) -> list[list[Piece]]:
    """Genuine calls of CALL_S from the clips of each person; in every second one a second person answers."""
    people: dict[str, list[Looked]] = defaultdict(list)
    for clip in talk:
        people[clip.tie].append(clip)
    names, rng, calls = sorted(people), np.random.default_rng(seed), []
    for number in range(round(hours * 3600 / CALL_S)):
        first, second = (str(name) for name in rng.choice(names, 2, replace=False))
        call: list[Piece] = []
        turn = 0
        while sum(span_s for _, span_s in call) < CALL_S:
            name = second if number % 2 and (turn // TURNS) % 2 else first
            call += people[name][int(rng.integers(len(people[name])))].pieces
            turn += 1
        calls.append(call)
    return calls


def _levels(clips: Sequence[Looked]) -> list[_Level]:
    return [_Level(float(np.average(*_columns(clip.pieces))), _units(clip.pieces), clip) for clip in clips if len(clip.pieces) > 1]


def _by_person(levels: Sequence[_Level]) -> list[list[_Level]]:
    people: dict[str, list[_Level]] = defaultdict(list)
    for each in levels:
        people[each.clip.tie].append(each)
    return list(people.values())


def _columns(pieces: Sequence[Piece]) -> tuple[Floats, None, Floats]:
    values = np.array(pieces, np.float64)
    return values[:, 0], None, values[:, 1]


def _units(pieces: Sequence[Piece]) -> float:
    return sum(span_s for _, span_s in pieces) / UNIT_S


def _noise(clips: Sequence[Looked]) -> float:
    """From one 1.2 s to the next: two pieces each, since neighbouring moments share what they are about."""
    squares, free = 0.0, 0
    for clip in clips:
        pairs = [float(np.average(*_columns(clip.pieces[at : at + 2]))) for at in range(0, len(clip.pieces) - 1, 2)]
        if len(pairs) > 1:
            squares, free = squares + float(((np.array(pairs) - np.mean(pairs)) ** 2).sum()), free + len(pairs) - 1
    return max(float(np.sqrt(squares / max(free, 1))), LEAST_DEVIATION)


def _people(people: Sequence[Sequence[_Level]], noise: float) -> tuple[float, float]:
    """Mean level, and its standard deviation between people."""
    means = np.array([np.mean([each.mean for each in group]) for group in people])
    chance = np.mean([noise**2 / sum(each.units for each in group) for group in people])
    return float(means.mean()), float(np.sqrt(max(means.var() - chance, LEAST_DEVIATION**2)))


def _drift(people: Sequence[Sequence[_Level]], noise: float) -> float:
    """Standard deviation between recordings of one person."""
    squares, free, chance = 0.0, 0, []
    for group in people:
        means = np.array([each.mean for each in group])
        squares, free = squares + float(((means - means.mean()) ** 2).sum()), free + len(group) - 1
        chance += [noise**2 / each.units for each in group]
    return float(np.sqrt(max(squares / max(free, 1) - float(np.mean(chance or [0.0])), LEAST_DEVIATION**2)))

"""Did the same voice or face become another within this call? What one person's earlier seconds say about the later ones. Pure.

Some people look odd to a model in every window (see `alerts.stretches`), so a level alone says little. A step says more: the same person,
seen a moment ago, ought to score as before. For each past moment k at which a forgery may have begun, the mean y of what came since is
weighed by

    log  N(y; b + rise, …)  −  log [ (1 − another) N(y; b, …) + another N(y; level, people²) ]

b is what the seconds before k tell of this person (a normal prior over people, made sharper by what was heard or seen), `drift` how far
one and the same person strays between recordings, and `another` allows for an innocent step: another speaker, another light. As in Page's
(1954) test the likeliest k counts. What came after the stretch stood out most is either more of it or the person again: so an end is
noticed as a beginning is. Edges are those of the two levels that leave the least squared error.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from monitor.alerts.calibration import StepModel
from monitor.alerts.stretches import UNIT_S
from monitor.media import Moment

PIECE_S = 0.6  # moments of so many seconds are taken together
BASELINE_S = 2.4  # before less than this is known of a person, no step is told
MEMORY = 60  # beginnings; of more, the least likely is forgotten
LATEST = 10  # but never one of so many
NEAR = 2.0  # log-odds below the best; of beginnings that likely the edges decide
GOES_ON = 7.0  # log-odds that a stretch goes on, before anything is known; no threshold lies above it
UNLIKELY = -9.0  # log-odds where nothing is known
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Step:
    """The present stretch as a step away from what the person was: `log_odds` that it is forged, when it began and until when it lasted,
    with `seconds` of evidence between both.
    """

    log_odds: float
    since_s: float
    until_s: float
    seconds: float


@dataclass(slots=True)
class _Since:
    """For each value that a forged stretch may have begun with, judged units of 1.2 s and their total: `m`, `total` until now,
    `lasted_m`, `lasted_total` until `until_s`, where the stretch stood out most: by `gain`.
    """

    begin_s: Floats
    m: Floats
    total: Floats
    gain: Floats
    until_s: Floats
    lasted_m: Floats
    lasted_total: Floats

    def only(self, kept: NDArray[np.bool_]) -> "_Since":
        return _Since(*(getattr(self, each.name)[kept] for each in fields(self)))


class Changes:
    """Feed it moments in time order."""

    def __init__(self, model: StepModel) -> None:
        self._model = model
        self._all_m = self._all_total = 0.0
        self._since = _Since(*(np.zeros(0) for _ in fields(_Since)))

    def add(self, value: float, start_s: float, span_s: float) -> Step:
        """`value`: a model's own log-odds of `span_s` judged seconds from `start_s` on."""
        units = span_s / UNIT_S
        self._all_m += units
        self._all_total += units * value
        since = self._since
        for name, first in (("begin_s", start_s), ("m", 0.0), ("total", 0.0), ("gain", -1.0), ("until_s", start_s)):
            setattr(since, name, np.append(getattr(since, name), first))
        since.m, since.total = since.m + units, since.total + units * value
        since.lasted_m, since.lasted_total = np.append(since.lasted_m, 0.0), np.append(since.lasted_total, 0.0)
        gain = self._gain_by_start()
        longer = gain > since.gain
        since.until_s = np.where(longer, start_s + span_s, since.until_s)
        for name, now in (("gain", gain), ("lasted_m", since.m), ("lasted_total", since.total)):
            setattr(since, name, np.where(longer, now, getattr(since, name)))
        odds = -np.logaddexp(self._model.cost - self._log_odds_by_start(), -self._goes_on())
        best = int(np.where(odds >= odds.max() - NEAR, since.gain, -math.inf).argmax())
        step = float(odds.max()), float(since.begin_s[best]), float(since.until_s[best]), float(since.lasted_m[best]) * UNIT_S
        if len(since.m) > MEMORY:
            self._since = since.only(np.arange(len(since.m)) != since.gain[:-LATEST].argmin())
        return Step(*step)

    def _log_odds_by_start(self) -> Floats:
        """That the stretch since then is forged, for each value that it may have begun with."""
        model, before = self._model, np.maximum(self._all_m - self._since.m, 0.0)
        person, unsure = self._person()
        noise, mean = model.noise**2 / self._since.m, self._since.total / self._since.m
        same = unsure + model.drift**2 + noise
        forged = _log_normal(mean - person - model.rise, same + model.rise_spread**2)
        genuine = np.logaddexp(
            math.log1p(-model.another) + _log_normal(mean - person, same),
            math.log(model.another) + _log_normal(mean - model.level, model.people**2 + noise),
        )
        odds: Floats = np.where(before * UNIT_S >= BASELINE_S - 1e-6, forged - genuine, UNLIKELY)
        return odds

    def _person(self) -> tuple[Floats, Floats]:
        """What is known of the person from before each beginning: mean and variance."""
        model = self._model
        precision = 1 / model.people**2 + np.maximum(self._all_m - self._since.m, 0.0) / model.noise**2
        return (model.level / model.people**2 + (self._all_total - self._since.total) / model.noise**2) / precision, 1 / precision

    def _gain_by_start(self) -> Floats:
        """Squared error that two levels, before and since, leave less than one; 0 where it steps down."""
        since, before = self._since, np.maximum(self._all_m - self._since.m, 1e-9)
        rise = np.maximum(since.total / since.m - (self._all_total - since.total) / before, 0.0)
        gain: Floats = rise**2 * since.m * before / (since.m + before)
        return gain

    def _goes_on(self) -> Floats:
        """Log-odds that what came after each stretch stood out most is more of it, and not the person from before again."""
        model, since = self._model, self._since
        after, lasted_m = np.maximum(since.m - since.lasted_m, 1e-9), np.maximum(since.lasted_m, 1e-9)
        mean, noise = (since.total - since.lasted_total) / after, model.noise**2 / after
        person, unsure = self._person()
        like_it = _log_normal(mean - since.lasted_total / lasted_m, model.drift**2 + model.noise**2 / lasted_m + noise)
        odds: Floats = GOES_ON + np.where(after > 1e-6, like_it - _log_normal(mean - person, unsure + model.drift**2 + noise), 0.0)
        return odds


def pieces(moments: Sequence[Moment], start_s: float, end_s: float) -> Iterable[tuple[float, float, float]]:
    """(mean value, start in s, judged seconds) of about PIECE_S each, as far as there are moments in start_s..end_s."""
    inside = [moment for moment in moments if start_s <= moment.time_s < end_s]
    if not inside:
        return
    count = max(1, round((end_s - start_s) / PIECE_S))
    length_s = (end_s - start_s) / count
    apart_s = float(np.median(np.diff([moment.time_s for moment in inside]))) if len(inside) > 1 else length_s
    for number in range(count):
        from_s = start_s + number * length_s
        mine = [moment.logit for moment in inside if from_s <= moment.time_s < from_s + length_s]
        if mine:
            yield float(np.mean(mine)), from_s, min(length_s, len(mine) * apart_s)


def _log_normal(away: Floats, variance: Floats) -> Floats:
    density: Floats = -0.5 * (away**2 / variance + np.log(variance))
    return density

"""Fits how window features become calibrated log-odds, and tells what such a fit is worth on clips it has not seen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from export.training import auc
from monitor.alerts.calibration import Condition, Logistic, ModalityCalibration
from monitor.alerts.evidence import of_all_forgeries
from monitor.alerts.stretches import UNIT_S

Floats = NDArray[np.float64]
FOLDS = 5
SCORES = {"voice", "av_audio", "face", "mouth", "lips"}  # model logits: more of one never means less forged
RIDGE = 1e-3  # on weights of standardised features
CONDITION_RIDGE = 0.02
GAIN, SEEN = (0.5, 8.0), (0.1, 1.0)  # bounds
SMALL_KIND = 10  # clips; a smaller kind does not weigh as much as a large one
MIN_GAIN = 0.002  # nats per clip on unseen clips that a condition has to bring


Piece = tuple[float, float]
"""Mean of one model's own log-odds over so many judged seconds, see `monitor.alerts.changes.pieces`."""


@dataclass(frozen=True)
class Looked:
    """One clip: features of each of its windows, and judged seconds (of a voice, of speech). `person`, `generator`: "" when unknown.
    `kind`: family of its system, or the collection that a genuine one is from. `pieces`: of half a second or so of a voice, in order.
    """

    windows: tuple[tuple[dict[str, float], float], ...]
    fake: bool
    person: str
    generator: str
    kind: str = ""
    pieces: tuple[Piece, ...] = ()

    @property
    def tie(self) -> str:
        """Clips with the same one must not be on both sides of a split."""
        return self.generator if self.fake else self.person or str(id(self))


@dataclass(frozen=True)
class Visible:
    """From a logistic's log-odds to those of a forgery that the models can see: `gain` × them + `offset`. `share`: of forgeries, how many
    they see; the others look genuine.
    """

    gain: float = 1.0
    offset: float = 0.0
    share: float = 1.0


@dataclass(frozen=True)
class Fit:
    """Fusions and conditions, and the `correlation` that turns window log-odds into those of a clip."""

    fusions: tuple[Logistic, ...]
    conditions: dict[str, Condition]
    correlation: float
    visible: Visible = Visible()

    @cached_property
    def calibration(self) -> ModalityCalibration:
        return ModalityCalibration(
            fusions=self.fusions,
            conditions=self.conditions,
            gain=round(self.visible.gain, 5),
            offset=round(self.visible.offset, 5),
            seen_share=round(self.visible.share, 4),
            correlation=self.correlation,
            threshold=0.5,
            suspicious=0.5,
        )

    def window_logits(self, clip: Looked) -> list[tuple[float, float]]:
        """(log-odds, judged seconds) of each window that can be judged."""
        judged = self.calibration
        return [(logit, span_s) for features, span_s in clip.windows if (logit := judged.logit(features)) is not None]

    def clip_logit(self, clip: Looked) -> float | None:
        """As `alerts.stretches` has it for one stretch."""
        found = self.window_logits(clip)
        m = sum(span_s for _, span_s in found) / UNIT_S
        if not found:
            return None
        seen = sum(logit * span_s / UNIT_S for logit, span_s in found) / (1 - self.correlation + self.correlation * m)
        return float(of_all_forgeries(np.array([seen]), self.visible.share)[0])


def clip_weights(clips: Sequence[Looked]) -> Floats:
    """How much each clip counts, 1 on average: the classes alike, and within a class every kind alike, however many clips it has.

    Two pages with a hundred vocoder copies each say less about the forgeries of a call than six families do.
    """
    count = Counter((clip.fake, clip.kind) for clip in clips)
    weight = np.array([1 / max(count[clip.fake, clip.kind], SMALL_KIND) for clip in clips])
    fake = np.array([clip.fake for clip in clips], np.bool_)
    for side in (fake, ~fake):
        weight[side] *= len(clips) / 2 / max(weight[side].sum(), 1e-9)
    return weight


def fit(clips: Sequence[Looked], names: Sequence[tuple[str, ...]], qualities: Sequence[str], correlation: float) -> Fit:
    """`names`: features of each fusion, the fullest first. Conditions are fitted with the last one, which most windows have."""
    last, conditions = _fit_one(clips, names[-1], qualities, {}, correlation)
    others = tuple(_fit_one(clips, each, (), conditions, correlation)[0] for each in names[:-1])
    return Fit((*others, last), conditions, correlation)


def visible(pairs: Sequence[tuple[Looked, Fit]], correlation: float) -> Visible:
    """What makes p_fake surprise least on clips whose fits saw neither their person nor their generator.

    Held-out generators are of two kinds: those whose traces the models know, far above every genuine clip, and those that look genuine to
    them. One logistic over both would call nothing certain.
    """
    found = [(np.array(each.window_logits(clip)), clip) for clip, each in pairs if each.window_logits(clip)]
    units = np.array([windows[:, 1].sum() / UNIT_S for windows, _ in found])
    effective = units / (1 - correlation + correlation * units)
    mean = np.array([np.average(windows[:, 0], weights=windows[:, 1]) for windows, _ in found])
    weight, fake = clip_weights([clip for _, clip in found]), np.array([clip.fake for _, clip in found])

    def loss(parameters: Floats) -> float:
        gain, offset, share = (float(each) for each in parameters)
        logits = of_all_forgeries(effective * (gain * mean + offset), share)
        return float((weight * np.logaddexp(0, np.where(fake, -logits, logits))).mean())

    starts = (np.array([1.0, 0.0, 0.95]), np.array([3.0, -2.0, 0.4]))
    best = min((minimize(loss, start, bounds=[GAIN, (-9.0, 9.0), SEEN]) for start in starts), key=lambda each: float(each.fun)).x
    return Visible(*(float(each) for each in best))


def cross_fit(
    clips: Sequence[Looked], names: Sequence[tuple[str, ...]], qualities: Sequence[str], correlation: float
) -> list[tuple[Looked, Fit]]:
    """Each clip with a fit that saw neither its generator nor its person."""
    ties = sorted({clip.tie for clip in clips})
    fold_of = dict(zip(ties, np.random.default_rng(5).permutation(len(ties)) % FOLDS, strict=True))
    pairs: list[tuple[Looked, Fit]] = []
    for fold in range(FOLDS):
        held = [clip for clip in clips if fold_of[clip.tie] == fold]
        seen = {clip.generator for clip in held} - {""}, {clip.person for clip in held} - {""}
        rest = [clip for clip in clips if fold_of[clip.tie] != fold and clip.generator not in seen[0] and clip.person not in seen[1]]
        fitted = fit(rest, names, qualities, correlation)
        pairs += [(clip, fitted) for clip in held]
    return pairs


def helpful(
    clips: Sequence[Looked], names: Sequence[tuple[str, ...]], qualities: Sequence[str], correlation: float
) -> tuple[tuple[str, ...], dict[str, float]]:
    """Of `qualities`, those that make unseen clips better calibrated, added one by one; and the log loss with each, "none" without any."""
    kept: tuple[str, ...] = ()
    lowest = log_loss(cross_fit(clips, names, (), correlation))
    losses = {"none": round(lowest, 4)}
    for quality in qualities:
        loss = log_loss(cross_fit(clips, names, (*kept, quality), correlation))
        losses[" and ".join((*kept, quality))] = round(loss, 4)
        if loss < lowest - MIN_GAIN:
            kept, lowest = (*kept, quality), loss
    return kept, losses


def log_loss(pairs: Sequence[tuple[Looked, Fit]]) -> float:
    """Mean surprise in nats per clip, weighed by `clip_weights`."""
    found = [(logit, clip) for clip, fitted in pairs if (logit := fitted.clip_logit(clip)) is not None]
    surprise = np.logaddexp(0, [-logit if clip.fake else logit for logit, clip in found])
    return float((clip_weights([clip for _, clip in found]) * surprise).mean())


def split_logits(pairs: Sequence[tuple[Looked, Fit]]) -> tuple[Floats, Floats]:
    """Log-odds of (genuine, forged) clips that can be judged."""
    found = [(logit, clip.fake) for clip, fitted in pairs if (logit := fitted.clip_logit(clip)) is not None]
    return np.array([logit for logit, fake in found if not fake]), np.array([logit for logit, fake in found if fake])


def auc_interval(pairs: Sequence[tuple[Looked, Fit]], draws: int = 300) -> tuple[float, float]:
    """95 % bootstrap interval of the AUC; people and generators are drawn, not clips."""
    rng = np.random.default_rng(7)
    sides: list[list[Floats]] = []
    for fake in (False, True):
        groups: dict[str, list[float]] = {}
        for clip, fitted in pairs:
            if clip.fake == fake and (logit := fitted.clip_logit(clip)) is not None:
                groups.setdefault(clip.tie, []).append(logit)
        sides.append([np.array(each) for each in groups.values()])
    drawn = [auc(*(np.concatenate([side[i] for i in rng.integers(len(side), size=len(side))]) for side in sides)) for _ in range(draws)]
    return round(float(np.quantile(drawn, 0.025)), 3), round(float(np.quantile(drawn, 0.975)), 3)


def calibration_error(pairs: Sequence[tuple[Looked, Fit]], bins: int = 10) -> float:
    """Expected calibration error of clips (Naeini et al. 2015, equal-width bins), weighed by `clip_weights`."""
    found = [(logit, clip) for clip, fitted in pairs if (logit := fitted.clip_logit(clip)) is not None]
    p = 1 / (1 + np.exp(-np.array([logit for logit, _ in found])))
    y = np.array([clip.fake for _, clip in found], np.float64)
    w = clip_weights([clip for _, clip in found]) / len(found)
    index = np.minimum((p * bins).astype(int), bins - 1)
    return float(sum(abs((w[index == b] * (p[index == b] - y[index == b])).sum()) for b in range(bins)))


def _fit_one(
    clips: Sequence[Looked], names: tuple[str, ...], qualities: Sequence[str], given: dict[str, Condition], correlation: float
) -> tuple[Logistic, dict[str, Condition]]:
    """Logistic regression on clips, both classes weighing the same; weights of model logits are not allowed below zero."""
    rows = [
        (features, span_s / UNIT_S, index)
        for index, clip in enumerate(clips)
        for features, span_s in clip.windows
        if set(names) <= features.keys()
    ]
    x = np.array([[features[name] for name in names] for features, _, _ in rows])
    span, owner = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    m = np.bincount(owner, span, len(clips))
    seen = m > 0
    y = np.array([clip.fake for clip in clips], np.float64)[seen]
    weight = clip_weights([clip for clip, judged in zip(clips, seen, strict=True) if judged])
    centre, spread = x.mean(0), x.std(0) + 1e-6
    conditions = {name: _condition([features.get(name) for features, _, _ in rows]) for name in qualities} if qualities else given
    places = np.array([[each.place(features.get(name, each.centre)) for name, each in conditions.items()] for features, _, _ in rows])
    places = places.reshape(len(rows), len(conditions))
    k, free = len(names), len(qualities)
    fixed = np.array([each.trust for each in conditions.values()])

    def logits(parameters: Floats) -> Floats:
        raw = (x - centre) / spread @ parameters[:k] + parameters[k]
        window = raw * np.maximum(0.0, 1 + places @ (parameters[k + 1 :] if free else fixed))
        of_clips: Floats = (np.bincount(owner, span * window, len(clips)) / (1 - correlation + correlation * m))[seen]
        return of_clips

    def loss(parameters: Floats) -> float:
        found = logits(parameters)
        ridge = RIDGE * (parameters[:k] ** 2).sum() + CONDITION_RIDGE * (parameters[k + 1 :] ** 2).sum()
        return float((weight * (np.logaddexp(0, found) - y * found)).mean() + ridge)

    bounds = [(0.0 if name in SCORES else None, None) for name in names] + [(None, None)] + [(0.0, 0.5)] * free
    best = minimize(loss, np.concatenate([[0.5 * (name in SCORES) for name in names], np.zeros(1 + free)]), bounds=bounds).x
    weights = best[:k] / spread
    fitted = Logistic(
        weights={name: round(float(each), 5) for name, each in zip(names, weights, strict=True)},
        bias=round(float(best[k] - (weights * centre).sum()), 5),
    )
    for place, name in enumerate(qualities):
        conditions[name] = conditions[name].model_copy(update={"trust": round(float(best[k + 1 + place]), 4)})
    return fitted, conditions


def _condition(values: Sequence[float | None]) -> Condition:
    """Neutral, over the middle nine tenths of what was seen."""
    low, middle, high = np.quantile([value for value in values if value is not None], (0.05, 0.5, 0.95))
    return Condition(centre=round(float(middle), 4), reach=round(max(float(high - low) / 2, 1e-3), 4), trust=0.0)

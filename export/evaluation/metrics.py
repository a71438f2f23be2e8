"""Numbers of a binary judgement. Scores are 0..1, higher = more surely forged; NaN where there is nothing to count."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_curve

from export.training import auc as mann_whitney
from export.training import matched_auc

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
DRAWS = 200
NAN = float("nan")


@dataclass(frozen=True)
class Scores:
    """`p` float [n], `forged` bool [n], `group` str [n]: whom rows share that must be drawn together. `looks` [n, k] or None."""

    p: Floats
    forged: Bools
    group: NDArray[np.str_]
    looks: Floats | None = None

    @classmethod
    def of(
        cls, p: Sequence[float], forged: Sequence[bool], group: Sequence[str], looks: Sequence[Sequence[float]] | None = None
    ) -> "Scores":
        table = np.array(looks, np.float64) if looks is not None and len(looks) else None
        return cls(np.array(p, np.float64), np.array(forged, np.bool_), np.array(group, np.str_), table)

    @property
    def two_sided(self) -> bool:
        return bool(self.forged.any() and not self.forged.all())

    def pick(self, index: NDArray[np.int64] | Bools) -> "Scores":
        return Scores(self.p[index], self.forged[index], self.group[index], None if self.looks is None else self.looks[index])


def auc(scores: Scores) -> float:
    return mann_whitney(scores.p[~scores.forged], scores.p[scores.forged])


def average_precision(scores: Scores) -> float:
    return float(average_precision_score(scores.forged, scores.p)) if scores.two_sided else NAN


def equal_error_rate(scores: Scores) -> float:
    """Where the share of genuine ones called forged equals that of forged ones missed, on straight lines between the curve's points."""
    if not scores.two_sided:
        return NAN
    false_alarms, found, _ = roc_curve(scores.forged, scores.p, drop_intermediate=False)
    gap = false_alarms - (1 - found)
    after = int(np.argmax(gap >= 0))
    if after == 0 or gap[after] == gap[after - 1]:
        return float(false_alarms[after])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(false_alarms[after - 1] + share * (false_alarms[after] - false_alarms[after - 1]))


def found_at(scores: Scores, false_alarm_rate: float) -> float:
    """Largest share of forged ones above a threshold that at most `false_alarm_rate` of the genuine ones pass; no line between points."""
    if not scores.two_sided:
        return NAN
    false_alarms, found, _ = roc_curve(scores.forged, scores.p, drop_intermediate=False)
    return float(found[false_alarms <= false_alarm_rate + 1e-12].max())


def calibration_error(scores: Scores, bins: int = 10) -> float:
    """Expected calibration error (Naeini et al. 2015) over equal-width bins, genuine and forged weighing the same in all."""
    if not scores.two_sided:
        return NAN
    weight = np.where(scores.forged, 0.5 / scores.forged.sum(), 0.5 / (~scores.forged).sum())
    index = np.minimum((scores.p * bins).astype(int), bins - 1)
    return float(sum(abs((weight * (scores.p - scores.forged))[index == each].sum()) for each in range(bins)))


def matched(scores: Scores) -> tuple[float, int]:
    """AUC over pairs alike in every column of `looks` (caliper 0.6 deviations), and how many forged ones have such a genuine twin."""
    if not scores.two_sided or scores.looks is None:
        return NAN, 0
    known = ~np.isnan(scores.looks).any(1)
    real, fake = known & ~scores.forged, known & scores.forged
    if not real.any() or not fake.any():
        return NAN, 0
    return matched_auc(scores.p[real], scores.p[fake], scores.looks[real], scores.looks[fake])


METRICS: dict[str, Callable[[Scores], float]] = {
    "auc": auc,
    "ap": average_precision,
    "eer": equal_error_rate,
    "found_at_1pct": lambda scores: found_at(scores, 0.01),
    "found_at_01pct": lambda scores: found_at(scores, 0.001),
    "ece": calibration_error,
    "matched_auc": lambda scores: matched(scores)[0],
}


def interval(scores: Scores, metric: Callable[[Scores], float], draws: int = DRAWS, seed: int = 7) -> tuple[float, float]:
    """95 % bootstrap interval: whole groups are drawn with replacement, draws that lack a class are left out."""
    if not scores.two_sided:
        return NAN, NAN
    rng = np.random.default_rng(seed)
    names, member = np.unique(scores.group, return_inverse=True)
    rows = [np.flatnonzero(member == each) for each in range(len(names))]
    values = []
    for _ in range(draws):
        drawn = scores.pick(np.concatenate([rows[each] for each in rng.integers(0, len(rows), len(rows))]))
        if drawn.two_sided and not np.isnan(value := metric(drawn)):
            values.append(value)
    if len(values) < draws / 10:
        return NAN, NAN
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def summary(scores: Scores, draws: int = DRAWS) -> dict[str, object]:
    """Every metric as [value, low, high], with the counts behind them."""
    told: dict[str, object] = {
        "genuine": int((~scores.forged).sum()),
        "forged": int(scores.forged.sum()),
        "groups": len(np.unique(scores.group)),
        "forged_with_twin": matched(scores)[1],
    }
    for name, metric in METRICS.items():
        told[name] = [metric(scores), *interval(scores, metric, draws)]
    return told


def curve(scores: Scores) -> dict[str, list[float]]:
    """The ROC curve's corners: false-alarm rate and share found."""
    if not scores.two_sided:
        return {"false_alarms": [], "found": []}
    false_alarms, found, _ = roc_curve(scores.forged, scores.p)
    return {"false_alarms": [round(float(x), 5) for x in false_alarms], "found": [round(float(y), 5) for y in found]}


def reliability(scores: Scores, bins: int = 10) -> list[dict[str, float]]:
    """Per filled bin of the score: mean score, share forged (classes weighing the same in all), and how many clips."""
    if not scores.two_sided:
        return []
    weight = np.where(scores.forged, 0.5 / scores.forged.sum(), 0.5 / (~scores.forged).sum())
    index = np.minimum((scores.p * bins).astype(int), bins - 1)
    told = []
    for each in range(bins):
        inside = index == each
        if inside.any():
            mass = weight[inside].sum()
            told.append(
                {
                    "said": float((weight * scores.p)[inside].sum() / mass),
                    "true": float((weight * scores.forged)[inside].sum() / mass),
                    "clips": int(inside.sum()),
                }
            )
    return told

"""What the curves of lips and voice since each past moment say, across scene cuts: the voice goes on, lips are seen anew. Pure."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from monitor.alerts.calibration import ModalityCalibration
from monitor.alerts.stretches import MEMORY
from monitor.alerts.sync import CERTAIN, FIT_FLOOR, LAGS, STEP_S, fit, peak

SLIGHT = 1e-2  # a beginning less likely than this has no say
LATELY_S = 4.0  # of lips and speech: what fits so long is not forged now, whatever the mean since long ago says of a lag that drifts
Curve = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class Lips:
    """Those seen between two cuts. `lag`: where they and the voice met when last they did, counted from 0; before that, of those before.
    `odds`: once they are seen no more, log-odds that they and the voice have not belonged together since each of their curves.
    """

    lag: int | None = None
    odds: Sequence[float] = ()


class Bonds:
    """Between two cuts the curves since a beginning are averaged, and their mean is judged. Across a cut curves are not averaged, since
    other lips may meet their voice at another lag, but log-odds are: so ten cuts to lips that hardly fit make nobody certain. Their sum,
    even when bounded as one person's windows are, opened three incidents an hour where genuine people change every five seconds.
    """

    def __init__(self, sync: ModalityCalibration) -> None:
        self._sync = sync
        self._curves: deque[tuple[Curve, float, Lips]] = deque(maxlen=MEMORY)
        self.lips = Lips()
        self.offset_s: float | None = None  # of the sound behind the lips; None where nothing stands out now

    def forget(self) -> None:
        """All but the lag, which is the transport's."""
        self._curves.clear()

    def cut(self) -> None:
        """What is added from now on shows other lips."""
        mine = [(curve, seen_s) for curve, seen_s, lips in self._curves if lips is self.lips]
        if mine:
            self.lips.odds = [log_odds_apart(self._sync, *since) for since in means_since(mine)]
        self.lips = Lips(self.lips.lag)

    def add(self, curve: Curve, seen_s: float) -> float:
        """Log-odds of this curve by itself, or less where it agrees with the lag so far. `seen_s`: of lips and speech that it rests on."""
        self._curves.append((curve, seen_s, self.lips))
        alone = log_odds_apart(self._sync, curve, seen_s)
        lag = self.lips.lag
        agreement = None if lag is None else self._sync.logit({"agreement": agreement_at(lag, curve)})
        return alone if agreement is None else min(alone, agreement)

    def judged(self, shares: Floats) -> Floats:
        """Log-odds that lips and voice have not belonged together since each of these curves.

        `shares`: chance that the present stretch began there; where it is slight, the log-odds are not worked out.
        """
        since_s = np.cumsum([seen_s for _, seen_s, _ in reversed(self._curves)])[::-1]
        likeliest, lately = int(shares.argmax()), max(int((since_s >= LATELY_S).sum()) - 1, 0)
        wanted = {int(index) for index in np.flatnonzero(shares >= SLIGHT)} | {lately}
        odds, after, stop = np.zeros(len(since_s)), 0.0, len(since_s)
        for bonds, run in enumerate(self._latest_first()):
            first, lips = stop - len(run), run[0][2]
            means = [] if lips.odds else means_since([(curve, seen_s) for curve, seen_s, _ in run])
            if means:
                self._find_lag(means[max(index - first, 0)][0] for index in (lately, likeliest))
            for index in wanted.intersection(range(first, stop)) | {first}:
                alone = log_odds_apart(self._sync, *means[index - first]) if means else lips.odds[index - stop]
                odds[index] = (after + alone) / (1 + bonds)
            after, stop = odds[first] * (1 + bonds), first
            if min(wanted) >= first:
                break
        odds[: lately + 1] = np.minimum(odds[: lately + 1], odds[lately])
        return odds

    def _find_lag(self, means: Iterable[Curve]) -> None:
        found = (peak(mean) for mean in means)
        self.offset_s = next((offset_s for offset_s, certainty in found if certainty >= CERTAIN), None)
        if self.offset_s is not None:
            self.lips.lag = LAGS // 2 + round(self.offset_s / STEP_S)

    def _latest_first(self) -> Iterator[list[tuple[Curve, float, Lips]]]:
        """The curves between two cuts."""
        runs = [list(run) for _, run in groupby(self._curves, lambda each: id(each[2]))]
        return reversed(runs)


def fitting(mean: Curve, compared_s: float) -> dict[str, float]:
    """What a mean curve over so many seconds of lips and speech is judged by: the longer, the more its fit tells."""
    how_well, log_s = fit(mean, compared_s), math.log(max(compared_s, 0.1))
    return {"fit": how_well, "log_s": log_s, "fit_log_s": how_well * log_s}


def log_odds_apart(sync: ModalityCalibration, mean: Curve, compared_s: float) -> float:
    """That lips and voice of this mean curve do not belong together."""
    return sync.logit(fitting(mean, compared_s)) or 0.0


def agreement_at(lag: int, curve: Curve) -> float:
    """How far `curve` stands out at one lag, counted from 0, in its own strays; 0 when it says nothing there."""
    value = float(curve[lag])
    return 0.0 if math.isnan(value) else value / math.hypot(float(np.nanstd(curve)), FIT_FLOOR)


def means_since(curves: Sequence[tuple[Curve, float]]) -> list[tuple[Curve, float]]:
    """For each curve the mean of it and all later ones, weighted by their seconds, NaN where no curve has a value; and these seconds."""
    stacked, seen_s = np.stack([curve for curve, _ in curves]), np.array([each for _, each in curves])
    weights = seen_s[:, None] * ~np.isnan(stacked)
    total = np.cumsum((weights * np.nan_to_num(stacked))[::-1], axis=0)[::-1]
    weight = np.cumsum(weights[::-1], axis=0)[::-1]
    means: Curve = np.where(weight > 0, total / np.maximum(weight, 1e-9), np.nan).astype(np.float32)
    return list(zip(means, (float(each) for each in np.cumsum(seen_s[::-1])[::-1]), strict=True))

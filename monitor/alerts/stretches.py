"""When did what we look at now begin, and is it forged? A sequential test for a change, after Page (1954) and Shiryaev (1963). Pure.

A call is a row of stretches. Each is genuine or forged; how long it lasts nobody knows. Page's test asks at every step how well the data
since any past moment k speak for "forged since k"; Shiryaev's form of it, used here, weighs all k by how probable a change at k is, so that
its statistic is a probability. Wald's (1945) boundaries apply to it: "fake" from `threshold` on, genuine below `suspicious`.

Windows of one person are not independent: some people simply look odd to a model, in every window. So within a stretch

    log-odds of 1.2 s  =  the stretch's own level  +  noise,      level ~ N(±d²/2, ρ d²),   noise ~ N(0, (1 − ρ) d²)

d (`spread`) is the standard deviation of such log-odds within a class: two normal classes that differ by d² have log-odds of just this
spread. ρ (`correlation`) is the share of it that belongs to the person. The log-odds that a stretch of m windows with sum S is forged are

    S / (1 − ρ + ρ m)  =  mean × m / (1 + (m − 1) ρ):

Kish's (1965) design effect. They never exceed mean / ρ however long it lasts: ten minutes of a look-alike do not add up to certainty.
How probable each beginning is follows from the densities of the same model (Adams & MacKay 2007, "Bayesian online changepoint detection").
"""

import math

import numpy as np
from numpy.typing import NDArray

UNIT_S = 1.2  # what one log-odds value is about
MEMORY = 50  # beginnings; an older one counts as the oldest of these
MOST = 6.0  # spreads beyond the mean of its class; a window says no more
AT_A_CUT = 0.1  # share of scene cuts that end a stretch
Floats = NDArray[np.float64]


class Stretches:
    """Feed it log-odds of 1.2 s in time order. `mean_s`: how long a stretch lasts on average, before anything is known.

    Per value that the present stretch may have begun with: `m` (in units of 1.2 s) and `total` since then.
    """

    def __init__(self, correlation: float, spread: float, mean_s: float) -> None:
        self._level_var = max(correlation, 0.05) * spread**2
        self._noise_var = max(1.0 - correlation, 0.05) * spread**2
        self._centre = spread**2 / 2
        self._most = self._centre + MOST * spread
        self._mean_s = mean_s
        self._m, self._total, self._begin_s, self._log_share = (np.zeros(0) for _ in range(4))

    def add(self, logit: float, start_s: float, span_s: float, *, cut: bool = False) -> None:
        """`span_s` > 0: how many judged seconds this value is about. `cut`: the scene changed before it."""
        value, span = max(-self._most, min(self._most, logit)), span_s / UNIT_S
        first = len(self._m) == 0
        self._m, self._total, self._begin_s = np.append(self._m, 0.0), np.append(self._total, 0.0), np.append(self._begin_s, start_s)
        if first:
            self._log_share = np.zeros(1)
        else:
            ends = max(AT_A_CUT if cut else 0.0, min(0.5, span_s / self._mean_s))
            share = np.append(self._log_share + math.log1p(-ends), math.log(ends)) + self._log_density(value, span)
            self._log_share = share - np.logaddexp.reduce(share)
        self._m += span
        self._total += span * value
        if len(self._m) > MEMORY:
            self._forget_first()

    @property
    def log_odds_by_start(self) -> Floats:
        """Log-odds that the present stretch is forged, for each value that it may have begun with."""
        odds: Floats = self._total * 2 * self._centre / (self._noise_var + self._level_var * self._m)
        return odds

    @property
    def shares(self) -> Floats:
        """Chance of each of these beginnings; they sum to 1."""
        return np.exp(self._log_share)

    def start(self, log_odds: Floats, *, forged: bool) -> tuple[float, float]:
        """Most probable beginning of the present stretch if it is forged, or genuine: (time in s, judged seconds since).

        `log_odds`: as `log_odds_by_start`.
        """
        best = int((self._log_share - np.logaddexp(0.0, -log_odds if forged else log_odds)).argmax())
        return float(self._begin_s[best]), float(self._m[best] * UNIT_S)

    def _log_density(self, value: float, span: float) -> Floats:
        """Of the next value, given each beginning: a mixture of genuine and forged stretches."""
        odds = self.log_odds_by_start
        precision = 1 / self._level_var + self._m / self._noise_var
        variance = 1 / precision + self._noise_var / span
        by_class = []
        for sign in (-1.0, 1.0):
            mean = (sign * self._centre / self._level_var + self._total / self._noise_var) / precision
            by_class.append(-np.logaddexp(0.0, -sign * odds) - (value - mean) ** 2 / (2 * variance))
        density: Floats = np.logaddexp(*by_class) - 0.5 * np.log(variance)
        return density

    def _forget_first(self) -> None:
        """What began with the first value counts from now on as begun with the second; the likelier of the two gives the time."""
        self._begin_s[1] = self._begin_s[int(self._log_share[1] > self._log_share[0])]
        self._log_share[1] = np.logaddexp(self._log_share[0], self._log_share[1])
        self._m, self._total, self._begin_s, self._log_share = (each[1:] for each in (self._m, self._total, self._begin_s, self._log_share))

"""The exact edge of a stretch, from the moments (a face crop every 0.4 s, say) around where the sequential test put it. Pure."""

from collections.abc import Iterable

import numpy as np

from monitor.media import Moment

REACH_S = 1.3  # windows are 1.2 s apart
LIPS_REACH_S = 2.6  # lips are compared every 2.4 s
KNOWN_LEVEL = 0.12  # correlation of lips and voice at their lag, from which something in a call fits
FEWEST = 6  # moments


def edge(moments: Iterable[Moment], near_s: float, *, rising: bool, reach_s: float = REACH_S) -> float:
    """Where log-odds step up (`rising`) or down, within `reach_s` of `near_s`: the split that leaves the least squared error around the two
    levels beside it. `near_s` itself where no moments stand on both sides of it, or none steps that way.
    """
    beside = [moment for moment in moments if abs(moment.time_s - near_s) <= 2 * reach_s]
    if not any(m.time_s < near_s for m in beside) or not any(m.time_s >= near_s for m in beside):
        return near_s
    times = np.array([moment.time_s for moment in beside])
    values = np.array([moment.logit for moment in beside])
    best, best_gain = near_s, 0.0
    for split in range(1, len(times)):
        at_s = float(times[split - 1] + times[split]) / 2
        step = float(values[split:].mean() - values[:split].mean())
        gain = step**2 * split * (len(times) - split)
        if abs(at_s - near_s) <= reach_s and (step > 0) == rising and gain > best_gain:
            best, best_gain = at_s, gain
    return best


def trimmed(moments: Iterable[Moment], start_s: float, end_s: float) -> tuple[float, float]:
    """Without what lies before the first and behind the last moment inside: windows end on a grid, voices when they like."""
    times = np.array([moment.time_s for moment in moments if start_s <= moment.time_s <= end_s])
    if len(times) < 2:
        return start_s, end_s
    half_s = float(np.median(np.diff(times))) / 2
    known = float(times[0]) - start_s <= 2 * REACH_S  # else the first moments of a long incident are forgotten
    return max(start_s, float(times[0]) - half_s) if known else start_s, min(end_s, float(times[-1]) + half_s)


def least_fitting(moments: Iterable[Moment], start_s: float, end_s: float) -> tuple[float, float]:
    """The stretch in which lips and voice fit least, of those that touch start_s … end_s or come within `LIPS_REACH_S` before it.

    `moments`: correlations of lips and voice, negated, at the lag at which they meet in this call. What lies below half of the level of
    genuine talk speaks for a forgery and the rest against it; the stretch with the largest sum is taken (Kadane's), which settles both
    edges at once. They lie midway to the moment outside, at most `REACH_S` into seconds in which nothing could be compared.
    (start_s, end_s) where nothing in this call fits: then there is no level to compare with.
    """
    near = sorted(moments, key=lambda moment: moment.time_s)
    times, fits = np.array([moment.time_s for moment in near]), np.array([-moment.logit for moment in near])
    level = float(np.median(np.sort(fits)[len(fits) // 3 :])) if len(fits) else 0.0
    if len(near) < FEWEST or level < KNOWN_LEVEL:
        return start_s, end_s
    sums = np.concatenate([[0.0], np.cumsum(level / 2 - fits)])
    gain = sums[None, 1:] - sums[:-1, None]  # from moment `row` to moment `column`
    touching = (times[:, None] <= end_s) & (times[None] >= start_s - LIPS_REACH_S) & (times[:, None] <= times[None])
    if not touching.any():
        return start_s, end_s
    first, last = np.unravel_index(int(np.where(touching, gain, -np.inf).argmax()), gain.shape)
    apart_s = np.diff(times)
    half_s = np.minimum(np.concatenate([[np.median(apart_s)], apart_s, [np.median(apart_s)]]) / 2, REACH_S)
    return float(times[first] - half_s[first]), float(times[last] + half_s[last + 1])

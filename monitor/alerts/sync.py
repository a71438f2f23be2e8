"""Lips against voice, a correlation per lag: where it peaks is the offset, how far it stands out tells whether they belong together."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitor.media import LipsAndVoice, Score

STEP_S = 0.04  # one picture at 25 Hz
MAX_LAG_STEPS = 30  # ±1.2 s
LAGS = 2 * MAX_LAG_STEPS + 1
MIN_STEPS = 10  # spoken steps that must overlap at a lag
AROUND_SPEECH_STEPS = 2  # lips that open and close tell too; whole pauses tell little, and are all there is where sound has not begun
GUARD_STEPS = 4  # lags this near to the peak belong to it
FLOOR = 0.04  # no curve is trusted to wobble less than this away from its peak
FIT_FLOOR = 0.12  # the same where belonging together is judged: a peak has to be high, not only to stand out
FREE_LAG_S, PER_LAG_S, MOST_FOR_LAG = 0.15, 4.0, 0.15  # what a peak far from zero costs in one window, in the units of `fit`
ONE_WINDOW_S = 2.4
CERTAIN = 3.0  # a lower peak says nothing about the offset: every genuine devset clip lies above, one dub in twenty
LOCAL_STEPS = 10  # 0.4 s
MIN_LOCAL_STEPS = 5
_LAGS = np.arange(-MAX_LAG_STEPS, MAX_LAG_STEPS + 1)
Floats = NDArray[np.float32]
Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class Compared:
    """What one window's lips and voice say of each other.

    `curve`: correlation of lips now with the voice `lag` steps later, float32 [61] for lags −30…+30, −1…1; NaN where too little overlaps.
    A positive lag means late sound. `seconds`: of speech beside seen lips at the same time; at other lags the lips of one person may meet
    the voice of the next. `local`: (middle in seconds from the first step, the same curve of these 0.4 s alone) of each stretch that is
    mostly spoken.
    """

    curve: Floats
    seconds: float
    local: tuple[tuple[float, Floats], ...]


class Strip:
    """One face's lips and the voice beside them, window after window. Each new window is compared with the end of the one before too: else
    sound that is late by 0.8 s would leave a third of every window without its lips.

    What stays the same over a window (a face, a timbre) is taken out first, as it fits at every lag. A pair of lips and voice counts when
    the later of the two is new: so nothing has to be waited for, and from the second window on all lags rest on equally much. The sum over
    the pairs is divided by the spoken steps ("biased" cross-correlation): the ends of a first curve rest on half a window and would
    otherwise be its wildest part.
    """

    def __init__(self) -> None:
        self._before: LipsAndVoice | None = None
        self._end_s = 0.0

    def add(self, heard: LipsAndVoice, start_s: float) -> Compared:
        """`start_s`: of the first step. Steps that the window before held too are not counted again."""
        now, before = _standardised_both(heard), self._before
        again = round((self._end_s - start_s) / STEP_S) if before is not None else 0
        self._before, self._end_s = now, start_s + len(now.lips) * STEP_S
        if before is None or not 0 <= again < min(len(now.lips), len(before.lips)):
            return _compared(now, 0, 0)
        ahead = min(len(before.lips) - again, MAX_LAG_STEPS)
        end = len(before.lips) - again
        both = (np.concatenate([then[end - ahead : end], since]) for then, since in zip(_parts(before), _parts(now), strict=True))
        return _compared(LipsAndVoice(*both), ahead, again)

    def of(self, score: Score) -> Score:
        """A sync score with its curves, from the lips and the voice that it brings."""
        assert score.heard is not None
        found = self.add(score.heard, score.start_s)
        local = tuple((score.start_s + into_s, curve) for into_s, curve in found.local)
        return replace(score, sync_curve=found.curve, speech_s=found.seconds, sync_local=local)


def compared(heard: LipsAndVoice) -> Compared:
    """One window by itself."""
    return Strip().add(heard, 0.0)


def comparable(heard: LipsAndVoice) -> bool:
    """Whether enough of lips and voice overlaps at any lag for a curve; next to nothing beside comparing them."""
    by_lag = np.correlate(_around(heard.spoken).astype(float), heard.seen.astype(float), "full")
    zero = len(heard.seen) - 1
    return bool(by_lag[max(zero - MAX_LAG_STEPS, 0) : zero + MAX_LAG_STEPS + 1].max() >= MIN_STEPS)


def similarity_curve(lips: Floats, voice: Floats, speaking: Marks) -> Floats:
    """The curve of one window by itself; `lips`, `voice`: [steps, D], `speaking`: bool [steps], where the voice counts."""
    return compared(LipsAndVoice(lips, voice, np.ones(len(lips), np.bool_), speaking)).curve


def fit(curve: Floats, seconds: float = ONE_WINDOW_S) -> float:
    """How well lips and voice fit: the height of the best peak in units of how far the curve strays elsewhere, less what its lag costs.

    Genuine windows of 2.4 s have 1.5–3, dubs about 1; 0 for a curve without values. Sound that is late by a transport's usual lag is as
    good as none. A larger lag may be the transport's too, but in one short look more dubs peak there than genuine talk: so it costs a
    little, and ever less the more `seconds` of speech a mean curve rests on.
    """
    if np.isnan(curve).all():
        return 0.0
    smooth = _smoothed(curve)
    price = np.minimum(PER_LAG_S * np.maximum(np.abs(_LAGS) * STEP_S - FREE_LAG_S, 0.0), MOST_FOR_LAG)
    price *= min(1.0, ONE_WINDOW_S / max(seconds, STEP_S)) ** 2
    return float(np.nanmax(smooth / np.hypot(_strays(smooth, int(np.nanargmax(smooth))), FIT_FLOOR) - price))


def peak(curve: Floats) -> tuple[float, float]:
    """(offset in seconds, positive when the sound is late; certainty). (0, 0) for a curve without values.

    The certainty counts how many times higher the peak is than the curve usually strays from zero elsewhere: about 2–3 by chance alone.
    """
    if np.isnan(curve).all():
        return 0.0, 0.0
    smooth = _smoothed(curve)
    top = int(np.nanargmax(smooth))
    shift = 0.0
    if 0 < top < len(smooth) - 1:
        left, mid, right = (float(value) for value in smooth[top - 1 : top + 2])
        bend = left - 2 * mid + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0  # NaN neighbours compare false
    return (top - MAX_LAG_STEPS + shift) * STEP_S, float(smooth[top]) / float(np.hypot(_strays(smooth, top), FLOOR))


def _compared(both: LipsAndVoice, ahead: int, again: int) -> Compared:
    """The first `ahead` steps are of the window before; of the others, the first `again` were in it too."""
    products = _products(both)[ahead:]
    products[:again] = np.nan
    pairs = (~np.isnan(products)).sum(0)
    spoken = int(pairs.max())
    curve = np.where(pairs >= MIN_STEPS, np.nansum(products, 0) / max(spoken, 1), np.nan).astype(np.float32)
    local = []
    for start in range(0, len(products), LOCAL_STEPS):
        part = products[start : start + LOCAL_STEPS]
        here = int((~np.isnan(part)).sum(0).max())
        if here >= MIN_LOCAL_STEPS:
            local.append(((start + len(part) / 2) * STEP_S, (np.nansum(part, 0) / here).astype(np.float32)))
    beside = int(pairs[MAX_LAG_STEPS])
    return Compared(curve, max(beside, 1) * STEP_S, tuple(local))


def _products(both: LipsAndVoice) -> Floats:
    """How much lips and voice agree, by step and lag: [steps, 61], at the step of the later of the two; NaN where nothing is spoken, or no
    lips were seen.
    """
    step = np.arange(len(both.lips))[:, None]
    seen_at, heard_at = step - np.maximum(_LAGS, 0), step + np.minimum(_LAGS, 0)
    inside = (seen_at >= 0) & (heard_at >= 0)
    seen_at, heard_at = np.maximum(seen_at, 0), np.maximum(heard_at, 0)
    known = inside & both.seen[seen_at] & both.spoken[heard_at]
    found: Floats = np.where(known, (both.lips @ both.voice.T)[seen_at, heard_at], np.nan).astype(np.float32)
    return found


def _standardised_both(heard: LipsAndVoice) -> LipsAndVoice:
    """Both without their mean; what is spoken, with the steps around it."""
    spoken = _around(heard.spoken)
    voice = _standardised(heard.voice, spoken) if spoken.any() else heard.voice
    return LipsAndVoice(_standardised(heard.lips, np.ones_like(spoken)), voice, heard.seen, spoken)


def _around(spoken: Marks) -> Marks:
    return np.asarray(np.convolve(spoken, np.ones(2 * AROUND_SPEECH_STEPS + 1), "same") > 0, np.bool_)


def _parts(heard: LipsAndVoice) -> tuple[Floats, Floats, Marks, Marks]:
    return heard.lips, heard.voice, heard.seen, heard.spoken


def _strays(smooth: Floats, top: int) -> float:
    """How far the curve usually is from zero away from its peak."""
    elsewhere = smooth[np.abs(np.arange(len(smooth)) - top) > GUARD_STEPS]
    return float(np.sqrt(np.nanmean(elsewhere**2))) if not np.isnan(elsewhere).all() else 0.0


def _standardised(vectors: Floats, counted: NDArray[np.bool_]) -> Floats:
    """Without their mean, and scaled so that their mean square length is 1, both over the `counted` steps."""
    centred = vectors - vectors[counted].mean(0)
    power = float((centred[counted] ** 2).sum(1).mean())
    scaled: Floats = (centred / np.sqrt(max(power, 1e-6))).astype(np.float32)
    return scaled


def _smoothed(curve: Floats) -> Floats:
    """Weighted 1–2–1 over neighbouring lags, as far as they are known; unknown lags stay unknown."""
    beside = np.pad(curve, 1, constant_values=np.nan)
    stacked = np.stack([beside[:-2], beside[1:-1], beside[2:]])
    weights = np.where(np.isnan(stacked), 0.0, np.array([[1.0], [2.0], [1.0]]))
    mean = np.nansum(stacked * weights, 0) / np.maximum(weights.sum(0), 1.0)
    return np.where(np.isnan(curve), np.nan, mean).astype(np.float32)

"""Lips against voice, a correlation per lag: where it peaks is the offset, how far it stands out tells whether they belong together."""

import numpy as np
from numpy.typing import NDArray

STEP_S = 0.04  # one picture at 25 Hz
MAX_LAG_STEPS = 30  # ±1.2 s
LAGS = 2 * MAX_LAG_STEPS + 1
MIN_STEPS = 10  # spoken steps that must overlap at a lag
GUARD_STEPS = 4  # lags this near to the peak belong to it
FLOOR = 0.04  # no curve is trusted to wobble less than this away from its peak
CERTAIN = 3.0  # a lower peak says nothing about the offset: every genuine devset clip lies above, one dub in twenty
Floats = NDArray[np.float32]


def similarity_curve(lips: Floats, voice: Floats, speaking: NDArray[np.bool_]) -> Floats:
    """Correlation of lips now with the voice `lag` steps later, float32 [61] for lags −30…+30, −1…1; NaN where too little overlaps.

    `lips`, `voice`: [steps, D]. `speaking`: bool [steps], where the voice counts. A positive lag means late sound. What stays the same
    over the window (a face, a timbre) is taken out first, as it fits at every lag. The sum over the overlap is divided by all spoken
    steps ("biased" cross-correlation): the ends of the curve rest on half of the window and would otherwise be its wildest part.
    """
    curve = np.full(LAGS, np.nan, np.float32)
    if speaking.sum() < MIN_STEPS:
        return curve
    lips, voice = _standardised(lips, np.ones_like(speaking)), _standardised(voice, speaking)
    product = lips @ voice.T
    for index, lag in enumerate(range(-MAX_LAG_STEPS, MAX_LAG_STEPS + 1)):
        along = np.diagonal(product, lag)
        counts = speaking[lag : lag + len(along)] if lag >= 0 else speaking[: len(along)]
        if counts.sum() >= MIN_STEPS:
            curve[index] = along[counts].sum() / speaking.sum()
    return curve


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
    elsewhere = smooth[np.abs(np.arange(len(smooth)) - top) > GUARD_STEPS]
    strays = float(np.sqrt(np.nanmean(elsewhere**2))) if not np.isnan(elsewhere).all() else 0.0
    return (top - MAX_LAG_STEPS + shift) * STEP_S, float(smooth[top]) / float(np.hypot(strays, FLOOR))


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

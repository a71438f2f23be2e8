"""Lips against voice, a correlation per lag: where it peaks is the offset, how far it stands out tells whether they belong together."""

import numpy as np
from numpy.typing import NDArray

STEP_S = 0.04  # one picture at 25 Hz
MAX_LAG_STEPS = 30  # ±1.2 s
LAGS = 2 * MAX_LAG_STEPS + 1
MIN_STEPS = 10  # spoken steps that must overlap at a lag
GUARD_STEPS = 4  # lags this near to the peak belong to it
FLOOR = 0.04  # no curve is trusted to wobble less than this away from its peak
FIT_FLOOR = 0.12  # the same where belonging together is judged: a peak has to be high, not only to stand out
FREE_LAG_S, PER_LAG_S, MOST_FOR_LAG = 0.15, 4.0, 0.2  # what a peak far from zero costs, in the units of `fit`
CERTAIN = 3.0  # a lower peak says nothing about the offset: every genuine devset clip lies above, one dub in twenty
LOCAL_STEPS = 10  # 0.4 s
MIN_LOCAL_STEPS = 5
Floats = NDArray[np.float32]


def similarity_curve(lips: Floats, voice: Floats, speaking: NDArray[np.bool_]) -> Floats:
    """Correlation of lips now with the voice `lag` steps later, float32 [61] for lags −30…+30, −1…1; NaN where too little overlaps.

    `lips`, `voice`: [steps, D]. `speaking`: bool [steps], where the voice counts. A positive lag means late sound. What stays the same
    over the window (a face, a timbre) is taken out first, as it fits at every lag. The sum over the overlap is divided by all spoken
    steps ("biased" cross-correlation): the ends of the curve rest on half of the window and would otherwise be its wildest part.
    """
    products = _products(lips, voice, speaking)
    enough = (~np.isnan(products)).sum(0) >= MIN_STEPS
    return np.where(enough, np.nansum(products, 0) / max(int(speaking.sum()), 1), np.nan).astype(np.float32)


def local_similarity(lips: Floats, voice: Floats, speaking: NDArray[np.bool_]) -> list[tuple[float, Floats]]:
    """(middle in seconds from the first step, the same curve of these 0.4 s alone) of each stretch that is mostly spoken."""
    products = _products(lips, voice, speaking)
    found = []
    for start in range(0, len(products), LOCAL_STEPS):
        part, spoken = products[start : start + LOCAL_STEPS], speaking[start : start + LOCAL_STEPS].sum()
        if spoken >= MIN_LOCAL_STEPS:
            found.append(((start + len(part) / 2) * STEP_S, (np.nansum(part, 0) / spoken).astype(np.float32)))
    return found


def fit(curve: Floats) -> float:
    """How well lips and voice fit: the height of the best peak in units of how far the curve strays elsewhere, less what its lag costs.

    Genuine windows of 2.4 s have 2–3.5, dubs about 1; 0 for a curve without values. Sound that is late by a transport's usual lag is as
    good as none; the price of a larger one is small, since it too may be the transport's: a higher one tells more dubs apart, and takes
    a third of genuine windows that are 0.4 s late for dubs.
    """
    if np.isnan(curve).all():
        return 0.0
    smooth = _smoothed(curve)
    lag_s = np.abs(np.arange(len(smooth)) - MAX_LAG_STEPS) * STEP_S
    price = np.minimum(PER_LAG_S * np.maximum(lag_s - FREE_LAG_S, 0.0), MOST_FOR_LAG)
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


def _products(lips: Floats, voice: Floats, speaking: NDArray[np.bool_]) -> Floats:
    """How much lips and voice agree, by step of the voice and lag: [steps, 61]; NaN where nothing is spoken or no lips were seen."""
    steps = len(voice)
    products = np.full((steps, LAGS), np.nan, np.float32)
    if speaking.any():
        table = _standardised(lips, np.ones_like(speaking)) @ _standardised(voice, speaking).T
        seen_at = np.arange(steps)[:, None] - np.arange(-MAX_LAG_STEPS, MAX_LAG_STEPS + 1)
        counted = (seen_at >= 0) & (seen_at < steps) & speaking[:, None]
        products[counted] = table[seen_at[counted], np.broadcast_to(np.arange(steps)[:, None], counted.shape)[counted]]
    return products


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

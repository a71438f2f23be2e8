"""Reading lips against voice: the offset is found wherever it lies, and chance does not look like certainty."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.alerts.sync import CERTAIN, LAGS, MAX_LAG_STEPS, STEP_S, Strip, comparable, compared, fit, peak, similarity_curve
from monitor.media import LipsAndVoice

STEPS = 60
ALL = np.ones(STEPS, np.bool_)
Floats = NDArray[np.float32]


def vectors(seed: int, steps: int = STEPS, constant: float = 0.0) -> Floats:
    """Unit vectors that change from step to step about as fast as lips do, around a constant."""
    rng = np.random.default_rng(seed)
    raw = rng.standard_normal((steps + 2, 16))
    raw = raw[:-2] + raw[1:-1] + raw[2:] + constant * rng.standard_normal(16)
    unit: Floats = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    return unit


def pair(lag: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Lips, and a voice that says the same `lag` steps later."""
    long = vectors(seed, STEPS + 60)
    return long[30 : 30 + STEPS].copy(), long[30 - lag : 30 - lag + STEPS].copy()


@pytest.mark.parametrize("lag", [-25, -7, 0, 4, 10, 25])
def test_the_offset_is_found_at_both_ends_of_the_range(lag: int) -> None:
    offset_s, certainty = peak(similarity_curve(*pair(lag), ALL))
    assert offset_s == pytest.approx(lag * STEP_S, abs=0.02)
    assert certainty > CERTAIN


def test_what_does_not_belong_together_is_rarely_certain() -> None:
    found = [peak(similarity_curve(vectors(seed), vectors(1000 + seed), ALL))[1] for seed in range(40)]
    assert float(np.median(found)) < CERTAIN
    assert min(peak(similarity_curve(*pair(3, seed), ALL))[1] for seed in range(40)) > max(found)


def test_the_ends_of_the_curve_are_no_wilder_than_its_middle() -> None:
    curves = np.stack([similarity_curve(vectors(seed), vectors(1000 + seed), ALL) for seed in range(60)])
    spread = curves.std(0)
    assert spread[:10].mean() < spread[25:36].mean()


def test_a_constant_likeness_of_face_and_timbre_does_not_count() -> None:
    lips, voice = vectors(1, constant=6.0), vectors(2, constant=6.0)
    alike = lips + voice.mean(0) * 3
    assert np.allclose(similarity_curve(lips, voice, ALL), similarity_curve(alike, voice, ALL), atol=1e-4)


def test_lips_and_voice_that_belong_together_fit_and_a_far_lag_costs_a_bounded_price() -> None:
    near, usual, far = (np.mean([fit(similarity_curve(*pair(lag, seed), ALL)) for seed in range(20)]) for lag in (0, 3, 12))
    strangers = [fit(similarity_curve(vectors(seed), vectors(1000 + seed), ALL)) for seed in range(20)]
    assert usual == pytest.approx(near, rel=0.1)
    assert max(strangers) < far < near - 0.1
    assert fit(np.full(LAGS, np.nan, np.float32)) == 0.0


def test_local_similarity_tells_when_a_window_stops_fitting() -> None:
    lips, voice = pair(4)
    voice[30:] = vectors(77)[30:]
    local = compared(LipsAndVoice(lips, voice, ALL, ALL)).local
    assert [time_s for time_s, _ in local] == pytest.approx([0.2, 0.6, 1.0, 1.4, 1.8, 2.2])
    at_lag = [float(curve[MAX_LAG_STEPS + 4]) for _, curve in local]
    assert min(at_lag[1:3]) > 0.5 > max(at_lag[3:]) + 0.2, "the first step's lips were not seen"
    speaking = ALL.copy()
    speaking[:18] = False
    local = compared(LipsAndVoice(lips, voice, ALL, speaking)).local
    assert [time_s for time_s, _ in local] == pytest.approx([1.0, 1.4, 1.8, 2.2]), "mostly spoken ones"


def windows(lips: Floats, voice: Floats, starts: list[int]) -> list[tuple[LipsAndVoice, float]]:
    return [(LipsAndVoice(lips[at : at + STEPS], voice[at : at + STEPS], ALL, ALL), at * STEP_S) for at in starts]


@pytest.mark.parametrize("lag", [-28, -20, 0, 20, 28])
def test_late_sound_finds_its_lips_in_the_window_before(lag: int) -> None:
    long = vectors(5, 3 * STEPS + 60)
    lips, voice = long[30:-30], np.roll(long, lag, 0)[30:-30]
    strip = Strip()
    first, second, third = (strip.add(*each) for each in windows(lips, voice, [0, STEPS, 2 * STEPS]))
    heights = [float(each.curve[MAX_LAG_STEPS + lag]) for each in (first, second, third)]
    assert heights[0] == pytest.approx(1 - abs(lag) / STEPS, abs=0.2), "what overlaps"
    assert min(heights[1:]) > 0.9
    assert len(second.local) == 6
    assert min(float(curve[MAX_LAG_STEPS + lag]) for _, curve in second.local) > 0.6, "from the first step on"


def test_what_a_window_shows_again_is_not_counted_again() -> None:
    lips, voice = (np.concatenate(each) for each in zip(pair(3), pair(3, 9), strict=True))
    strip = Strip()
    whole, rest = (strip.add(*each) for each in windows(lips, voice, [0, 20]))
    assert (whole.seconds, rest.seconds) == (pytest.approx(2.4), pytest.approx(0.8))
    assert [time_s for time_s, _ in rest.local] == pytest.approx([1.8, 2.2])


def test_lips_that_a_cut_took_away_are_not_counted_beside_the_next_voice() -> None:
    """At a lag of a second they meet it, so the curve has values there."""
    lips, voice = (np.concatenate(each) for each in zip(pair(3), pair(3, 9), strict=True))
    (first, _), (second, start_s) = windows(lips, voice, [0, STEPS])
    strip = Strip()
    strip.add(first, 0.0)
    found = strip.add(replace(second, seen=np.arange(STEPS) < 25), start_s)
    assert found.seconds == pytest.approx(1.0)
    assert not np.isnan(found.curve[[0, -1]]).any()


@pytest.mark.parametrize("start", [STEPS + 5, 3 * STEPS])
def test_across_a_gap_nothing_is_compared(start: int) -> None:
    lips, voice = vectors(1, 5 * STEPS), vectors(2, 5 * STEPS)
    strip = Strip()
    _, after = (strip.add(*each) for each in windows(lips, voice, [0, start]))
    alone = compared(windows(lips, voice, [start])[0][0])
    assert np.array_equal(after.curve, alone.curve)


def test_a_far_lag_costs_less_the_more_there_is() -> None:
    curve = similarity_curve(*pair(20), ALL)
    assert fit(curve, 1.0) == fit(curve, 2.4) < fit(curve, 4.8) < fit(curve, 60.0)


def test_only_spoken_steps_count() -> None:
    lips, voice = pair(5)
    speaking = ALL.copy()
    speaking[18:42] = False
    disturbed = voice.copy()
    disturbed[20:40] = vectors(9)[:20]
    assert np.allclose(similarity_curve(lips, voice, speaking), similarity_curve(lips, disturbed, speaking), atol=1e-6)


def test_too_little_speech_gives_no_curve_and_no_offset() -> None:
    speaking = np.zeros(STEPS, np.bool_)
    speaking[:7] = True  # and two steps behind them
    curve = similarity_curve(vectors(1), vectors(2), speaking)
    assert curve.shape == (LAGS,)
    assert np.isnan(curve).all()
    assert peak(curve) == (0.0, 0.0)


def test_lags_without_enough_overlap_are_unknown_and_harmless() -> None:
    lips, voice = (each[:30] for each in pair(2))
    curve = similarity_curve(lips, voice, np.ones(30, np.bool_))
    assert np.isnan(curve[0])
    assert not np.isnan(curve[MAX_LAG_STEPS])
    assert peak(curve)[0] == pytest.approx(2 * STEP_S, abs=0.02)


def test_still_vectors_give_a_flat_curve() -> None:
    still = np.tile(vectors(3)[:1], (STEPS, 1))
    assert peak(similarity_curve(still, still, ALL))[1] < 0.1


def test_comparable_is_what_gives_a_curve() -> None:
    rng = np.random.default_rng(5)
    met = set()
    for _ in range(300):
        steps = int(rng.integers(12, 76))
        seen, spoken = (np.convolve(rng.random(steps) < share, np.ones(4), "same") > 0 for share in rng.choice([0.01, 0.03, 0.3], 2))
        heard = LipsAndVoice(*(rng.standard_normal((2, steps, 8)).astype(np.float32)), seen, spoken)
        met.add(comparable(heard))
        assert comparable(heard) == (not np.isnan(compared(heard).curve).all())
    assert met == {True, False}

"""Numbers of the evaluation against cases counted by hand, and against scikit-learn's where it has them."""

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install -e .[export])")

from sklearn.metrics import roc_auc_score

from export.evaluation.metrics import (
    Scores,
    auc,
    average_precision,
    calibration_error,
    curve,
    equal_error_rate,
    found_at,
    interval,
    matched,
    reliability,
    summary,
)
from export.evaluation.spans import Stretch, average_precision_at, average_recall_at, delays_s, false_ones, overlap, per_hour


def scores(genuine: list[float], forged: list[float], groups: list[str] | None = None, looks: list[list[float]] | None = None) -> Scores:
    count = len(genuine) + len(forged)
    return Scores.of(genuine + forged, [False] * len(genuine) + [True] * len(forged), groups or [str(k) for k in range(count)], looks)


FOUR = scores([0.1, 0.6], [0.4, 0.9])


def test_auc_counts_pairs_in_order() -> None:
    assert auc(FOUR) == 0.75
    assert auc(scores([0.5], [0.5])) == 0.5
    rng = np.random.default_rng(2)
    many = Scores.of(rng.random(60).round(1).tolist(), (rng.random(60) > 0.4).tolist(), [""] * 60)
    assert auc(many) == pytest.approx(roc_auc_score(many.forged, many.p))


def test_average_precision_by_hand() -> None:
    assert average_precision(FOUR) == pytest.approx(0.5 * 1.0 + 0.5 * 2 / 3)


def test_equal_error_rate_by_hand() -> None:
    assert equal_error_rate(FOUR) == pytest.approx(0.5)
    assert equal_error_rate(scores([0.1, 0.2], [0.8, 0.9])) == 0.0
    assert equal_error_rate(scores([0.1, 0.2, 0.3, 0.8], [0.25, 0.9])) == 0.5
    assert equal_error_rate(scores([0.1, 0.2, 0.3, 0.8], [0.5, 0.7, 0.9])) == pytest.approx(0.25)  # on the line from (.25, 1/3) to (.25, 1)


def test_equal_error_rate_of_a_mirrored_judge_is_its_complement() -> None:
    rng = np.random.default_rng(0)
    genuine, forged = rng.normal(0.4, 0.1, 300), rng.normal(0.5, 0.1, 300)
    right = equal_error_rate(scores(genuine.tolist(), forged.tolist()))
    wrong = equal_error_rate(scores((1 - genuine).tolist(), (1 - forged).tolist()))
    assert right == pytest.approx(0.3085, abs=0.03)  # Φ(−.5)
    assert right + wrong == pytest.approx(1.0, abs=0.01)


def test_found_at_allows_only_as_many_false_alarms() -> None:
    genuine = [k / 1000 for k in range(100)]
    assert found_at(scores(genuine, [0.0985, 0.5, 0.05, 0.6]), 0.01) == 0.75  # one genuine clip may lie above
    assert found_at(scores(genuine, [0.0985, 0.5, 0.05, 0.6]), 0.001) == 0.5


def test_calibration_error_weighs_both_classes_the_same() -> None:
    assert calibration_error(scores([0.0] * 10, [1.0])) == pytest.approx(0.0)
    assert calibration_error(scores([0.25, 0.25], [0.25])) == pytest.approx(0.25)  # says .25, but half of the mass is forged
    assert calibration_error(scores([0.9], [0.1])) == pytest.approx(0.9)


def test_matched_compares_only_what_looks_alike() -> None:
    bright, dark = [10.0], [0.0]
    found = scores([0.1, 0.8], [0.9, 0.7], looks=[bright, dark, bright, dark])
    assert auc(found) == 0.75
    assert matched(found) == (0.5, 2)
    assert matched(scores([0.1], [0.9], looks=[bright, [math.nan]]))[1] == 0


def test_intervals_draw_whole_groups() -> None:
    rng = np.random.default_rng(1)
    genuine, forged = rng.normal(0, 1, 40).tolist(), rng.normal(1, 1, 40).tolist()
    alone = interval(scores(genuine, forged), auc)
    grouped = interval(scores(genuine, forged, [f"g{k % 4}" for k in range(80)]), auc)
    repeated = interval(scores(genuine * 5, forged * 5, [str(k % 40) for k in range(200)] + [str(40 + k % 40) for k in range(200)]), auc)
    assert alone[0] < auc(scores(genuine, forged)) < alone[1]
    assert grouped != alone
    assert repeated[1] - repeated[0] == pytest.approx(alone[1] - alone[0], rel=0.5)  # five copies of a clip tell nothing new


def test_one_sided_scores_have_no_numbers() -> None:
    told = summary(scores([0.1, 0.2], []), draws=5)
    assert told["genuine"] == 2
    assert all(math.isnan(x) for x in told["auc"])
    assert curve(scores([0.1], [])) == {"false_alarms": [], "found": []}


def test_reliability_bins() -> None:
    told = reliability(scores([0.05, 0.05], [0.95]))
    assert [(round(b["said"], 2), b["true"], b["clips"]) for b in told] == [(0.05, 0.0, 2), (0.95, 1.0, 1)]


TRUTH = [Stretch("a", 2.0, 6.0), Stretch("b", 0.0, 4.0)]


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(TRUTH[0], Stretch("a", 4.0, 8.0)) == pytest.approx(2 / 6)
    assert overlap(TRUTH[0], Stretch("b", 2.0, 6.0)) == 0.0


def test_segment_ap_by_hand() -> None:
    said = [Stretch("a", 2.0, 6.0, 0.9), Stretch("a", 2.2, 6.0, 0.8), Stretch("b", 0.0, 3.0, 0.7), Stretch("c", 0.0, 1.0, 0.6)]
    # ranked: hit, repeated (false), hit at IoU .75, false; precision at the hits 1 and 2/3
    assert average_precision_at(TRUTH, said, 0.75) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision_at(TRUTH, said, 0.9) == pytest.approx(0.5)
    assert average_precision_at(TRUTH, [], 0.5) == 0.0
    assert math.isnan(average_precision_at([], said, 0.5))


def test_segment_recall_takes_the_best_of_each_file() -> None:
    said = [Stretch("a", 9.0, 10.0, 0.9), Stretch("a", 2.0, 6.0, 0.8), Stretch("b", 0.0, 3.0, 0.7)]
    assert average_recall_at(TRUTH, said, 1) == pytest.approx(0.5 * 6 / 10)  # of b alone: IoU .75 passes .5 to .75
    assert average_recall_at(TRUTH, said, 2) == pytest.approx((1.0 + 6 / 10) / 2)


def test_delays_and_false_incidents() -> None:
    opened = [Stretch("a", 2.5, 5.0, known_s=5.0), Stretch("a", 20.0, 22.0, known_s=22.0), Stretch("b", 5.0, 6.0, known_s=6.0)]
    assert delays_s(TRUTH, opened) == [3.0]
    assert [each.start_s for each in false_ones(TRUTH, opened)] == [20.0]  # b's begins within a window of the truth


def test_rate_of_nothing_has_an_upper_end() -> None:
    rate, low, high = per_hour(0, 3600.0)
    assert (rate, low) == (0.0, 0.0)
    assert high == pytest.approx(3.689, abs=0.001)  # −ln .025
    assert math.isnan(per_hour(0, 0.0)[0])

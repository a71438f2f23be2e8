import numpy as np
import pytest

from monitor.alerts.incidents import Incidents
from monitor.alerts.segments import REACH_S, edge, least_fitting, trimmed
from monitor.media import Alert, Moment, Score
from tests.fakes import POLICIES


def moments(begin_s: float, end_s: float, forged: tuple[float, float], noise: float = 0.5) -> list[Moment]:
    rng = np.random.default_rng(8)
    times = np.arange(begin_s + 0.2, end_s, 0.4)
    return [Moment(float(t), (3.0 if forged[0] <= t < forged[1] else -3.0) + float(rng.normal(0, noise))) for t in times]


@pytest.mark.parametrize("true_s", [5.0, 6.1, 6.9])
def test_an_edge_is_found_to_half_a_moment(true_s: float) -> None:
    assert edge(moments(0, 20, (true_s, 20)), 6.0, rising=True) == pytest.approx(true_s, abs=0.21)
    assert edge(moments(0, 20, (0, true_s)), 6.0, rising=False) == pytest.approx(true_s, abs=0.21)


def test_without_moments_on_both_sides_or_a_step_that_way_the_coarse_edge_stays() -> None:
    assert edge([], 6.0, rising=True) == 6.0
    assert edge(moments(6.0, 20, (0, 20)), 6.0, rising=True) == 6.0
    assert edge(moments(0, 20, (0, 6.0), noise=0.0), 5.0, rising=True) == 5.0


def test_a_segment_has_the_edges_of_the_forgery_not_of_the_windows() -> None:
    forged = (7.0, 14.9)
    scores = []
    for step in range(25):
        begin_s = 1.2 * step
        mine = tuple(moments(begin_s, begin_s + 1.2, forged, noise=0.2))
        scores.append(Score("video", 0, begin_s, begin_s + 1.2, float(np.mean([m.logit for m in mine])), moments=mine))
    incidents = Incidents("call", POLICIES)
    told = [event for each in scores for event in incidents.add([each]) if isinstance(event, Alert)]
    assert [alert.kind for alert in told if alert.kind != "updated"] == ["opened", "closed"]
    (segment,) = told[-1].segments
    assert (segment.start_s, segment.end_s) == (pytest.approx(forged[0], abs=0.21), pytest.approx(forged[1], abs=0.21))


def test_a_file_forged_from_end_to_end_is_one_whole_segment() -> None:
    incidents = Incidents("clip", POLICIES)
    scores = [Score("video", 0, 1.2 * i, 1.2 * i + 1.2, 3.0, moments=tuple(moments(1.2 * i, 1.2 * i + 1.2, (0, 99)))) for i in range(5)]
    for each in scores:
        incidents.add([each])
    (closed,) = incidents.close(6.0)
    assert (closed.segments[0].start_s, closed.segments[0].end_s) == (0.0, pytest.approx(6.0))


def test_a_segment_is_no_longer_than_the_speech_in_it() -> None:
    spoken = moments(8.0, 18.7, (0, 99))
    assert trimmed(spoken, 7.2, 19.2) == (pytest.approx(8.0), pytest.approx(18.8))
    assert trimmed(spoken[:1], 7.2, 19.2) == (7.2, 19.2)
    assert trimmed(spoken[-10:], 7.2, 19.2)[0] == 7.2, "earlier moments are forgotten"


def lips_at(level: float, dubbed: tuple[float, float], until_s: float = 14.4) -> list[Moment]:
    rng = np.random.default_rng(2)
    times = np.arange(0.2, until_s, 0.4)
    return [Moment(float(t), -float((0.0 if dubbed[0] <= t < dubbed[1] else level) + rng.normal(0, 0.05))) for t in times]


@pytest.mark.parametrize("coarse", [(4.0, 14.4), (7.2, 9.6), (10.5, 14.4)])
def test_both_edges_of_a_dub_are_found_from_a_rough_idea_of_it(coarse: tuple[float, float]) -> None:
    assert least_fitting(lips_at(0.3, (4.0, 8.8)), *coarse) == (pytest.approx(4.0, abs=0.01), pytest.approx(8.8, abs=0.01))


def test_an_edge_lies_midway_into_seconds_that_nobody_could_compare_and_never_far_into_them() -> None:
    whole = lips_at(0.3, (4.0, 8.8))
    short_gap = [moment for moment in whole if not 7.2 < moment.time_s < 8.8]
    assert least_fitting(short_gap, 4.0, 9.6) == (pytest.approx(4.0, abs=0.01), pytest.approx(8.0, abs=0.01))
    long_gap = [moment for moment in whole if not 7.2 < moment.time_s < 13.0]
    assert least_fitting(long_gap, 4.0, 9.6) == (pytest.approx(4.0, abs=0.01), pytest.approx(7.0 + REACH_S, abs=0.01))


def test_a_dub_elsewhere_in_the_call_is_another_one() -> None:
    start_s, end_s = least_fitting(lips_at(0.3, (1.2, 3.2)), 10.0, 12.0)
    assert start_s > 3.2
    assert end_s > start_s


def test_where_nothing_fits_there_is_no_level_and_no_edge() -> None:
    assert least_fitting(lips_at(0.0, (0.0, 0.0)), 2.4, 12.0) == (2.4, 12.0)
    assert least_fitting(lips_at(0.3, (0.0, 1.0), until_s=2.0), 0.0, 2.0) == (0.0, 2.0), "too few"

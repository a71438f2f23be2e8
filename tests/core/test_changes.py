"""A step within one person's scores: told soon, with its edges, and never of a person who merely looks odd."""

import numpy as np
import pytest

from monitor.alerts.calibration import StepModel
from monitor.alerts.changes import BASELINE_S, MEMORY, PIECE_S, Changes, Step, pieces
from monitor.alerts.evidence import Evidence
from monitor.alerts.incidents import Incidents
from monitor.alerts.policy import Policies, Policy
from monitor.media import Alert, Moment, Score
from tests.fakes import CALIBRATION

MODEL = StepModel(level=-1.0, people=1.5, noise=0.8, drift=0.4, rise=1.5, rise_spread=1.0, another=0.02, cost=3.0)


def steps(values: list[float], model: StepModel = MODEL) -> list[Step]:
    changes = Changes(model)
    return [changes.add(value, PIECE_S * index, PIECE_S) for index, value in enumerate(values)]


def noisy(levels: list[tuple[float, float]], seed: int = 1, noise: float = 0.8) -> list[float]:
    """(seconds, level) after each other, in pieces."""
    rng = np.random.default_rng(seed)
    return [level + float(rng.normal(0, noise)) for seconds, level in levels for _ in range(round(seconds / PIECE_S))]


@pytest.mark.parametrize("person", [-3.0, -1.0, 1.0])
def test_three_forged_seconds_in_a_call_are_told_whoever_it_is(person: float) -> None:
    told = steps(noisy([(9.0, person), (3.0, person + 4.0), (9.0, person)], noise=0.5))
    loudest = max(told, key=lambda step: step.log_odds)
    assert loudest.log_odds > 0.0
    assert [loudest.since_s, loudest.until_s] == pytest.approx([9.0, 12.0], abs=0.61)
    assert loudest.seconds == pytest.approx(loudest.until_s - loudest.since_s)
    assert told[-1].log_odds < -1.0, "what has ended is not told of now"


@pytest.mark.parametrize("level", [-4.0, 0.0, 3.0])
def test_a_person_who_always_looks_odd_makes_no_step(level: float) -> None:
    assert max(step.log_odds for step in steps(noisy([(600.0, level)]))) < 0.0


def test_nothing_is_told_before_the_person_is_known() -> None:
    told = steps([-3.0] * (round(BASELINE_S / PIECE_S) - 1) + [6.0] * 20)
    assert max(step.log_odds for step in told[: round(BASELINE_S / PIECE_S)]) < -5.0


def test_a_step_down_is_no_forgery() -> None:
    assert max(step.log_odds for step in steps(noisy([(9.0, 2.0), (9.0, -3.0)]))) < 0.0


def test_the_more_innocent_steps_there_are_the_less_one_says() -> None:
    values = noisy([(9.0, -2.0), (4.8, 1.0)])
    sure, unsure = (max(step.log_odds for step in steps(values, MODEL.model_copy(update={"another": share}))) for share in (0.01, 0.5))
    assert unsure < sure - 1.0


def test_a_forgery_that_goes_on_is_still_told_after_more_than_the_memory() -> None:
    told = steps(noisy([(12.0, -2.0), (4 * MEMORY * PIECE_S, 2.5)]))
    assert min(step.log_odds for step in told[round(18.0 / PIECE_S) :]) > 0.5
    assert told[-1].since_s == pytest.approx(12.0, abs=2.0)


def test_pieces_hold_only_what_was_judged() -> None:
    moments = [Moment(0.08 + 0.16 * index, float(index < 4)) for index in range(6)]
    assert np.array(list(pieces(moments, 0.0, 1.2))) == pytest.approx(np.array([[1.0, 0.0, 0.6], [0.0, 0.6, 0.32]]))
    assert list(pieces(moments, 5.0, 6.2)) == []
    assert next(iter(pieces(moments[:1], 0.0, 1.2))) == pytest.approx((1.0, 0.0, 0.6))


def call(levels: list[tuple[float, float]]) -> list[Score]:
    """A face whose level says nothing: its calibrated log-odds are always the same."""
    values = noisy(levels, noise=0.4)
    scores = []
    for index in range(0, len(values), 2):
        begin_s, pair = PIECE_S * index, values[index : index + 2]
        moments = tuple(Moment(begin_s + 0.3 + PIECE_S * k, value) for k, value in enumerate(pair))
        scores.append(Score("video", 0, begin_s, begin_s + 1.2, -1.0, moments=moments))
    return scores


def test_an_incident_opens_for_a_step_alone_and_has_its_edges() -> None:
    scores = call([(9.6, -2.0), (4.8, 3.0), (12.0, -2.0)])
    for step, wanted in ((None, []), (MODEL, ["opened", "closed"])):
        video = CALIBRATION.video.model_copy(update={"step": step})
        incidents = Incidents("call", Policies.from_calibration(CALIBRATION.model_copy(update={"video": video})))
        alerts = [event for each in scores for event in incidents.add([each]) if isinstance(event, Alert)]
        assert [alert.kind for alert in alerts if alert.kind != "updated"] == wanted
    (segment,) = alerts[-1].segments
    assert [segment.start_s, segment.end_s] == pytest.approx([9.6, 14.4], abs=0.61)


def test_a_call_that_ends_forged_is_forged_to_its_end_and_one_that_does_not_is_not() -> None:
    policies = Policies.from_calibration(CALIBRATION.model_copy(update={"video": CALIBRATION.video.model_copy(update={"step": MODEL})}))
    for after_s, until_s in ((0.0, 14.4), (1.2, 14.4)):
        incidents = Incidents("call", policies)
        for score in call([(9.6, -2.0), (4.8, 3.0), (after_s, -2.0)]):
            incidents.add([score])
        (closed,) = incidents.close(14.4 + after_s)
        assert closed.segments[0].end_s == pytest.approx(until_s, abs=0.61)


def test_a_step_is_forgotten_when_its_evidence_is_stale() -> None:
    evidence = Evidence(Policy(threshold=0.8, step=MODEL))
    for score in call([(9.6, -2.0), (4.8, 3.0)]):
        verdict = evidence.add(score)
    assert verdict.state == "fake"
    later = evidence.add(Score("video", 0, 60.0, 61.2, None, "no_face"))
    assert (later.state, later.p_fake) == ("insufficient", None)

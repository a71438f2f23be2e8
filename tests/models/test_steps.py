"""What the shipped calibration makes of a step within a call: a clear one is told soon and with its edges, a genuine call has none."""

from pathlib import Path

import numpy as np
import pytest

from monitor.alerts.calibration import Calibration, read_calibration
from monitor.alerts.changes import PIECE_S
from monitor.alerts.incidents import Incidents
from monitor.alerts.policy import Policies
from monitor.media import Alert, Moment, Score

MODELS = Path(__file__).parents[2] / "exported_models"
GENUINE = -1.0  # calibrated log-odds of every window: the level says nothing
CLEAR = 5.0  # a model's own log-odds above the person; the clearest voices and faces of made calls rise by 4 to 6


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return read_calibration(MODELS / "calibration.json")


def alerts(calibration: Calibration, values: list[float]) -> list[Alert]:
    """Of a call whose model says this every PIECE_S."""
    incidents, told = Incidents("call", Policies.from_calibration(calibration)), []
    for index in range(0, len(values) - 1, 2):
        begin_s = index * PIECE_S
        moments = tuple(Moment(begin_s + (k + 0.5) * PIECE_S, value) for k, value in enumerate(values[index : index + 2]))
        told += incidents.add([Score("audio", None, begin_s, begin_s + 2 * PIECE_S, GENUINE, moments=moments)])
    return [event for event in told if isinstance(event, Alert) and event.kind != "updated"]


@pytest.mark.parametrize("from_s", [9.6, 300.0])
def test_a_clear_step_of_six_seconds_is_told_within_five_and_has_its_edges(calibration: Calibration, from_s: float) -> None:
    step = calibration.audio.step
    assert step is not None
    rng = np.random.default_rng(4)
    times = np.arange(0.0, from_s + 24.0, PIECE_S)
    level = step.level + np.where((times >= from_s - 1e-6) & (times < from_s + 6.0 - 1e-6), CLEAR, 0.0)
    opened, closed = alerts(calibration, (level + rng.normal(0, step.noise * 2**0.5, len(times))).tolist())
    assert opened.time_s - from_s <= 5.0
    (segment,) = closed.segments
    assert [segment.start_s, segment.end_s] == pytest.approx([from_s, from_s + 6.0], abs=1.2)


@pytest.mark.parametrize("person", [-2.0, 0.0, 2.0])
def test_an_hour_of_a_person_as_odd_as_people_are_has_no_step(calibration: Calibration, person: float) -> None:
    step = calibration.audio.step
    assert step is not None
    rng = np.random.default_rng(5)
    minutes = np.repeat(rng.normal(0, step.drift, 60), round(60 / PIECE_S))  # another recording every minute
    values = step.level + person * step.people + minutes + rng.normal(0, step.noise * 2**0.5, len(minutes))
    assert alerts(calibration, values.tolist()) == []


def test_a_step_of_a_face_is_told_by_nobody(calibration: Calibration) -> None:
    assert calibration.video.step is None


def test_rehearsed_genuine_calls_kept_the_budget(calibration: Calibration) -> None:
    assert calibration.numbers["audio"]["steps"]["false incidents per hour"] <= 0.1

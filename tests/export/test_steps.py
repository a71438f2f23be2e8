"""What a step within a call means is fitted on people, and priced so that genuine calls stay quiet."""

from dataclasses import replace

import numpy as np
import pytest

from export.fitting import Looked, Piece
from export.steps import MARGIN, cost_of_steps, fit_steps, joined_calls, step_incidents
from monitor.alerts.calibration import StepModel
from monitor.alerts.policy import Policy

LEVEL, PEOPLE, DRIFT, NOISE, RISE = -1.0, 1.5, 0.4, 0.6, 2.0


def recording(rng: np.random.Generator, person: str, level: float, fake: bool = False) -> Looked:
    """Eight pieces of .6 s: neighbours share their noise, as overlapping looks do."""
    own = level + rng.normal(0, DRIFT)
    noise = np.repeat(rng.normal(0, NOISE, 4), 2)
    return Looked((), fake, person, f"generator of {person}" if fake else "", "talk", tuple((own + float(n), 0.6) for n in noise))


def people(count: int, clips: int, seed: int = 3) -> list[Looked]:
    rng = np.random.default_rng(seed)
    return [recording(rng, f"p{k}", level) for k, level in enumerate(rng.normal(LEVEL, PEOPLE, count)) for _ in range(clips)]


def both(count: int) -> list[Looked]:
    rng, found = np.random.default_rng(4), []
    for number in range(count):
        found.append(recording(rng, f"o{number}", float(rng.normal(LEVEL, PEOPLE))))
        found.append(recording(rng, f"f{number}", float(rng.normal(LEVEL, PEOPLE)) + RISE, fake=True))
    return found


def test_what_made_the_recordings_is_found_again() -> None:
    model = fit_steps(both(200), people(100, 5))
    assert model.level == pytest.approx(LEVEL, abs=0.25)
    assert model.people == pytest.approx(PEOPLE, abs=0.2)
    assert model.noise == pytest.approx(NOISE, abs=0.05)
    assert model.drift == pytest.approx(DRIFT, abs=0.08)
    assert model.rise > RISE, "of the half that shows most"
    assert model.rise_spread == pytest.approx(np.hypot(PEOPLE, DRIFT), abs=0.3), "a rise is above people in general"


def test_genuine_calls_are_quiet_at_their_price_and_would_not_be_without() -> None:
    talk, policy = people(8, 6), Policy(threshold=0.8)
    model = fit_steps(both(60), talk)
    calls = joined_calls(talk, 0.34)
    priced = cost_of_steps(model, policy, calls)
    assert priced.cost > MARGIN, "two people who take turns step"
    assert sum(step_incidents(call, replace(policy, step=priced)) for call in calls) == 0
    cheap = priced.model_copy(update={"cost": 0.0})
    assert sum(step_incidents(call, replace(policy, step=cheap)) for call in calls) > 0


def test_a_step_opens_one_incident_and_a_second_one_after_calm() -> None:
    model = StepModel(level=-1.0, people=1.5, noise=0.6, drift=0.4, rise=2.0, rise_spread=1.0, another=0.02, cost=2.0)
    quiet, forged = [(-2.0, 0.6)] * 20, [(3.0, 0.6)] * 8
    calls: list[tuple[list[Piece], int]] = [(quiet, 0), (quiet + forged, 1), ((quiet + forged) * 2 + quiet, 2)]
    for call, wanted in calls:
        assert step_incidents(call, Policy(threshold=0.8, step=model)) == wanted


def test_joined_calls_are_as_long_as_wanted_and_hold_one_person_or_two() -> None:
    talk = [Looked((), False, name, "", "talk", ((value, 0.6),) * 4) for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    calls = joined_calls(talk, 1.0)
    assert [round(sum(span_s for _, span_s in call) / 60) for call in calls] == [10] * 6
    assert [len({value for value, _ in call}) for call in calls] == [1, 2] * 3

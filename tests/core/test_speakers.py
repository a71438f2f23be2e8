"""Several faces share one voice: who is taken for the speaker, and when nobody is."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.alerts.incidents import Incidents
from monitor.alerts.speakers import Speakers
from monitor.alerts.summary import Summary
from monitor.media import Alert, LipsAndVoice, Score, Verdict
from tests.fakes import CALIBRATION, POLICIES

STEPS, SIZE = 60, 16
THERE = np.ones(STEPS, np.bool_)


def heard(window: int, face: int, speaks: bool) -> LipsAndVoice:
    """The lips of one face beside the voice of that window, in step where it speaks."""
    voice = np.random.default_rng([window, 99]).normal(size=(STEPS, SIZE)).astype(np.float32)
    noise = np.random.default_rng([window, face]).normal(size=(STEPS, SIZE)).astype(np.float32)
    return LipsAndVoice(0.8 * voice + 0.6 * noise if speaks else noise, voice, THERE, THERE)


def looked(window: int, faces: dict[int, bool], *, company: bool = True) -> Score:
    """Face → whether the voice is its own; the order is that of the detectors only by chance."""
    (first, lips), *rivals = [(face, heard(window, face, speaks)) for face, speaks in faces.items()]
    span_s = 2.4 * window, 2.4 * window + 2.4
    return Score("sync", first, *span_s, None, heard=lips, rivals=tuple(rivals), in_company=company)


def call(windows: list[dict[int, bool]], *, company: bool = True) -> list[Score]:
    speakers = Speakers(CALIBRATION.sync)
    return [speakers.of([looked(at, faces, company=company)])[0] for at, faces in enumerate(windows)]


def told(scores: list[Score]) -> tuple[Verdict, list[Alert]]:
    """The whole recording's verdict on sync, and what was opened."""
    summary, incidents, opened = Summary(POLICIES), Incidents("s", POLICIES), list[Alert]()
    for at, score in enumerate(scores):
        summary.score(score)
        for event in incidents.add([score], last=at == len(scores) - 1):
            assert isinstance(event, Verdict | Alert)
            summary.event(event)
            opened += [event] if isinstance(event, Alert) and event.kind == "opened" else []
    return summary.verdict("sync"), opened


def test_among_several_the_one_whom_the_voice_fits_is_the_speaker() -> None:
    turns = [0, 0, 2, 2, 1, 0]
    scores = call([{face: face == speaker for face in range(3)} for speaker in turns])
    assert [score.track_id for score in scores] == turns
    assert all(not score.rivals for score in scores)
    verdict, opened = told(scores)
    assert (verdict.state, opened) == ("genuine", [])


def test_a_voice_that_fits_nobody_may_be_that_of_somebody_unseen() -> None:
    scores = call([{0: False, 1: False, 2: False}] * 8)
    assert {(score.heard, score.reason) for score in scores} == {(None, "not_speaking")}
    verdict, opened = told(scores)
    assert (verdict.state, verdict.reason, verdict.p_fake, verdict.coverage, opened) == ("insufficient", "not_speaking", None, 0.0, [])


def test_the_only_face_whose_lips_move_among_several_is_no_dub_either() -> None:
    verdict, opened = told(call([{0: False}] * 8))
    assert (verdict.reason, opened) == ("not_speaking", [])


def test_a_face_that_is_alone_answers_for_every_voice() -> None:
    windows = [{0: False}] * 8
    scores = call(windows, company=False)
    assert all(score.track_id == 0 and score.heard is not None for score in scores)
    verdict, opened = told(scores)
    assert (verdict.state, len(opened)) == ("fake", 1)


def test_a_dub_of_somebody_who_spoke_before_is_held_against_that_face() -> None:
    scores = call([{0: False, 1: True}] * 4 + [{0: False, 1: False}] * 5)
    assert {score.track_id for score in scores} == {1}
    verdict, opened = told(scores)
    assert (verdict.state, [alert.track_id for alert in opened]) == ("fake", [1])
    assert opened[0].since_s == pytest.approx(9.6, abs=2.4)


def test_lips_that_rest_are_not_held_against_anybody() -> None:
    scores = call([{0: True, 1: False}] * 4 + [{1: False}] * 5)
    assert [score.reason for score in scores[4:]] == ["not_speaking"] * 5
    assert told(scores)[1] == []


def test_who_fitted_last_is_who_counts_and_once_by_chance_is_not_enough() -> None:
    speakers = Speakers(CALIBRATION.sync)
    faint = looked(4, {0: False, 1: True})
    weak = [(face, replace(lips, lips=lips.lips + 1.0 * heard(77, face, False).lips)) for face, lips in faint.rivals]
    for at in range(4):
        speakers.of([looked(at, {0: True, 1: False})])
    chosen = speakers.of([replace(faint, rivals=tuple(weak))])[0]
    assert chosen.track_id == 1
    assert speakers.of([looked(5, {0: False, 1: False})])[0].reason == "not_speaking"


def test_the_more_faces_the_better_the_best_has_to_fit() -> None:
    def needed(others: int) -> float:
        """How much of the voice its lips must show until somebody counts as the speaker."""
        quiet = [(1 + other, replace(heard(3, 0, False), lips=np.zeros((STEPS, SIZE), np.float32))) for other in range(others)]
        for share in np.arange(0.0, 1.0, 0.02):
            lips = heard(3, 0, False)
            score = replace(looked(3, {0: False}), heard=replace(lips, lips=share * lips.voice + lips.lips), rivals=tuple(quiet))
            if Speakers(CALIBRATION.sync).of([score])[0].heard is not None:
                return float(share)
        return 1.0

    assert needed(0) < needed(1) < needed(5) < 1.0


def test_other_scores_pass_as_they_are() -> None:
    others = [Score("audio", None, 0.0, 1.2, 1.0), Score("sync", None, 0.0, 1.2, None, "no_speech")]
    assert Speakers(CALIBRATION.sync).of(others) == others

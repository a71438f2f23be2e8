import numpy as np
import pytest

from monitor.alerts.evidence import Evidence
from monitor.alerts.incidents import Incidents
from monitor.alerts.policy import Policies, Policy
from monitor.alerts.sync import LAGS, MAX_LAG_STEPS, peak, similarity_curve
from monitor.media import Alert, Score, Verdict
from tests.fakes import CALIBRATION, POLICIES

POLICY = Policy(threshold=0.8, suspicious=0.5)


def score(start_s: float, logit: float | None, reason: str | None = None, span_s: float = 1.2, **more) -> Score:
    return Score("audio", None, start_s, start_s + span_s, logit, reason, **more)  # type: ignore[arg-type]


def states(evidence: Evidence, scores: list[Score]) -> list[str]:
    return [evidence.add(each).state for each in scores]


def test_little_evidence_is_too_short_and_young_evidence_is_not_yet_fake() -> None:
    evidence = Evidence(POLICY)
    first = evidence.add(score(0.0, 5.0, span_s=0.6))
    assert (first.state, first.reason) == ("insufficient", "too_short")
    assert first.p_fake is not None, "a score is given whenever there was any evidence"
    assert first.p_fake > 0.9
    assert states(evidence, [score(0.6, 5.0), score(1.8, 5.0)]) == ["suspicious", "fake"]


def test_a_short_file_is_decided_by_what_there_is() -> None:
    assert Evidence(POLICY).add(score(0.0, 5.0), last=True).state == "fake"


def test_not_looking_is_never_genuine() -> None:
    evidence = Evidence(POLICY)
    verdict = evidence.add(score(0.0, None, "no_speech"))
    assert (verdict.state, verdict.reason, verdict.p_fake, verdict.coverage) == ("insufficient", "no_speech", None, 0.0)


def test_too_little_speech_among_silence_is_no_speech() -> None:
    evidence = Evidence(POLICY)
    evidence.add(score(0.0, None, "no_speech"))
    verdict = evidence.add(score(1.2, 2.0, span_s=0.4))
    assert (verdict.state, verdict.reason) == ("insufficient", "no_speech")


def test_a_verdict_is_withdrawn_when_its_evidence_is_stale() -> None:
    evidence = Evidence(POLICY)
    spoken = [score(1.2 * i, -4.0) for i in range(4)]
    silence = [score(4.8 + 1.2 * i, None, "no_speech") for i in range(7)]
    told = [evidence.add(each) for each in spoken + silence]
    assert [each.state for each in told[3:8]] == ["genuine"] * 5, "a pause does not change the verdict at once"
    assert (told[-1].state, told[-1].reason) == ("insufficient", "no_speech")
    assert told[-1].coverage == pytest.approx(4 / 11, abs=0.01)


def test_old_evidence_fades() -> None:
    evidence = Evidence(POLICY)
    states(evidence, [score(1.2 * i, -4.0) for i in range(10)])
    assert states(evidence, [score(12.0 + 1.2 * i, 4.0) for i in range(6)])[-1] == "fake"


def curve_with_peak(lag: int, height: float) -> np.ndarray:
    curve = np.zeros(LAGS, np.float32)
    curve[lag + MAX_LAG_STEPS] = height
    return curve


def test_sync_judges_the_mean_curve_and_a_constant_offset_is_no_forgery() -> None:
    evidence = Evidence(POLICIES.sync, POLICIES.sync_calibration)
    curves = [curve_with_peak(10, 0.6)] * 5
    told = [evidence.add(Score("sync", None, 2.4 * i, 2.4 * i + 2.4, None, sync_curve=curve)) for i, curve in enumerate(curves)]
    assert told[-1].state == "genuine"
    assert told[-1].offset_ms == pytest.approx(400.0)


def test_sync_peaks_that_never_agree_are_a_dub() -> None:
    evidence = Evidence(POLICIES.sync, POLICIES.sync_calibration)
    told = [
        evidence.add(Score("sync", None, 2.4 * i, 2.4 * i + 2.4, None, sync_curve=curve_with_peak(lag, 0.15)))
        for i, lag in enumerate((-20, 11, 3, -7, 28, 15))
    ]
    assert told[-1].state == "fake"


def test_similarity_curve_finds_the_lag_and_ignores_silence() -> None:
    rng = np.random.default_rng(1)
    speech = rng.normal(size=(100, 16)).astype(np.float32)
    speech /= np.linalg.norm(speech, axis=1, keepdims=True)
    lips, voice = speech[20:80], speech[12:72]  # what the lips do now is heard 8 steps later
    offset_s, confidence = peak(similarity_curve(lips, voice, np.ones(60, np.bool_)))
    assert offset_s == pytest.approx(0.32, abs=0.02)
    assert confidence > 0.8
    assert np.isnan(similarity_curve(lips, voice, np.zeros(60, np.bool_))).all()
    assert peak(np.full(LAGS, np.nan, np.float32)) == (0.0, 0.0)


def alerts(incidents: Incidents, scores: list[Score]) -> list[Alert]:
    return [event for each in scores for event in incidents.add([each]) + incidents.expire(each.end_s) if isinstance(event, Alert)]


def test_cooldown_keeps_a_flickering_score_from_many_incidents() -> None:
    policies = Policies.from_calibration(CALIBRATION, {"audio": {"cooldown_s": 30.0}})
    flicker = [score(1.2 * i, 6.0 if (i // 5) % 2 == 0 else -6.0) for i in range(25)]
    assert [alert.kind for alert in alerts(Incidents("s", policies), flicker)].count("opened") == 1


def test_each_incident_begins_with_its_own_evidence() -> None:
    speaks = [step < 5 or step >= 20 for step in range(30)]
    told = alerts(
        Incidents("s", POLICIES), [score(1.2 * i, 5.0) if on else score(1.2 * i, None, "no_speech") for i, on in enumerate(speaks)]
    )
    assert [(alert.kind, alert.since_s) for alert in told if alert.kind != "updated"] == [
        ("opened", 0.0),
        ("closed", 0.0),
        ("opened", 24.0),
    ]


def test_a_face_that_leaves_closes_its_incident() -> None:
    incidents = Incidents("s", POLICIES)
    there = [Score("video", 7, 1.2 * i, 1.2 * i + 1.2, 5.0) for i in range(4)]
    gone = [Score("video", None, 4.8 + 1.2 * i, 6.0 + 1.2 * i, None, "no_face") for i in range(8)]
    told = alerts(incidents, there + gone)
    assert [(alert.kind, alert.track_id) for alert in told] == [("opened", 7), ("closed", 7)]
    assert incidents.close(99.0) == []


def test_two_faces_are_two_incidents() -> None:
    incidents = Incidents("s", POLICIES)
    told = [
        event
        for i in range(4)
        for event in incidents.add([Score("video", 0, 1.2 * i, 1.2 * i + 1.2, 5.0), Score("video", 1, 1.2 * i, 1.2 * i + 1.2, 5.0)])
    ]
    opened = [event for event in told if isinstance(event, Alert) and event.kind == "opened"]
    assert {alert.track_id for alert in opened} == {0, 1}
    assert len({alert.incident_id for alert in opened}) == 2
    assert sum(isinstance(event, Verdict) for event in told) == 8


def test_a_lower_threshold_from_the_config_lowers_suspicious_too() -> None:
    policies = Policies.from_calibration(CALIBRATION, {"audio": {"threshold": 0.3, "min_evidence_s": None}})
    assert (policies.audio.threshold, policies.audio.suspicious) == (0.3, 0.3)
    assert policies.audio.min_evidence_s == Policy(0.8, 0.5).min_evidence_s
    assert policies.video.threshold == 0.8

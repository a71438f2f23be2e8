from dataclasses import replace

import numpy as np
import pytest

from monitor.alerts.bonds import fitting
from monitor.alerts.calibration import Logistic, ModalityCalibration
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


def test_of_a_voice_only_speech_counts_and_pauses_are_looked_at_all_the_same() -> None:
    for speech_s, state in [(0.4, "insufficient"), (1.0, "suspicious"), (2.4, "fake")]:
        verdict = Evidence(POLICY).add(score(0.0, 5.0, span_s=2.4, speech_s=speech_s))
        assert (verdict.state, verdict.coverage) == (state, 1.0)
        assert verdict.evidence_s == pytest.approx(speech_s)
    halting, fluent = ([score(1.2 * i, 5.0, speech_s=speech_s) for i in range(4)] for speech_s in (0.6, 1.2))
    assert states(Evidence(POLICY), halting) == ["insufficient", "suspicious", "suspicious", "fake"], "half a window twice is a whole one"
    assert states(Evidence(POLICY), fluent)[:2] == ["suspicious", "fake"]


def test_a_voice_that_spoke_for_a_moment_is_not_called_fake_even_when_the_recording_ends() -> None:
    ended = [Evidence(POLICY).add(score(0.0, 9.0, span_s=2.4, speech_s=speech_s), last=True).state for speech_s in (0.8, 1.0)]
    assert ended == ["insufficient", "fake"]


def test_a_recording_of_one_word_is_judged_by_that_word_and_a_running_call_is_not() -> None:
    word, less = (score(0.0, 9.0, span_s=2.4, speech_s=speech_s) for speech_s in (0.6, 0.5))
    assert [Evidence(POLICIES.audio).add(word, last=last).state for last in (True, False)] == ["fake", "suspicious"]
    assert Evidence(POLICIES.audio).add(less, last=True).state == "insufficient"


def test_a_word_weighs_less_than_a_sentence() -> None:
    word, sentence = (Evidence(POLICY).add(score(0.0, 2.0, span_s=2.4, speech_s=speech_s)).p_fake or 0.0 for speech_s in (0.6, 2.4))
    assert 0.5 < word < sentence


def test_a_short_file_is_decided_by_what_there_is() -> None:
    assert Evidence(POLICY).add(score(0.0, 5.0), last=True).state == "fake"


def test_a_recording_of_one_curve_has_a_threshold_of_its_own_and_a_running_call_does_not() -> None:
    dub = lip_score(0.0, curve_with_peak(0, 0.0, 1))
    p_fake = Evidence(POLICIES.sync, SYNC).add(dub).p_fake or 0.0
    assert p_fake > POLICIES.sync.threshold
    for short_threshold, last, state in [
        (None, True, "suspicious"),
        (p_fake - 1e-3, False, "suspicious"),
        (p_fake + 1e-3, True, "suspicious"),
        (p_fake - 1e-3, True, "fake"),
    ]:
        verdict = Evidence(replace(POLICIES.sync, short_threshold=short_threshold), SYNC).add(dub, last=last)
        assert verdict.state == state
        assert (verdict.threshold == short_threshold) == (last and short_threshold is not None), "told with what it was compared"


def test_the_last_curve_of_a_long_recording_is_not_judged_as_a_short_one() -> None:
    evidence = Evidence(replace(POLICIES.sync, short_threshold=0.8), SYNC)
    for index in range(6):
        evidence.add(lip_score(2.4 * index, curve_with_peak(2, 0.6, index)))
    assert evidence.add(lip_score(14.4, curve_with_peak(0, 0.0, 9)), last=True).state != "fake"


def test_one_look_at_a_face_beside_others_is_not_the_whole_recording() -> None:
    other, dub = lip_score(0.0, curve_with_peak(2, 0.6, 0)), lip_score(2.4, curve_with_peak(0, 0.0, 1), track_id=1)
    policies = replace(POLICIES, sync=replace(POLICIES.sync, short_threshold=0.8))
    for before, state in ([], "fake"), ([other], "suspicious"):
        incidents = Incidents("clip", policies)
        incidents.add(before)
        told = {event.track_id: event for event in incidents.add([dub], last=True) if isinstance(event, Verdict)}
        assert told[1].state == state


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


@pytest.mark.parametrize("genuine_s", [0.0, 7.2, 60.0, 600.0])
def test_a_forgery_is_noticed_as_soon_after_ten_minutes_as_at_the_start(genuine_s: float) -> None:
    evidence = Evidence(POLICY)
    before = round(genuine_s / 1.2)
    told = [evidence.add(score(1.2 * i, -3.0 if i < before else 3.0)) for i in range(before + 6)]
    noticed = next(each for each in told if each.state == "fake")
    assert noticed.time_s - genuine_s == pytest.approx(2.4)
    assert noticed.since_s == pytest.approx(genuine_s)


def test_a_genuine_stretch_after_a_fake_is_told_within_three_seconds() -> None:
    evidence = Evidence(POLICY)
    told = [evidence.add(score(1.2 * i, 3.0 if i < 20 else -3.0)) for i in range(30)]
    calm = next(each for each in told if each.time_s > 24.0 and each.state == "genuine")
    assert calm.time_s <= 24.0 + 3.0
    assert calm.since_s == pytest.approx(24.0)


def test_one_odd_window_is_no_forgery() -> None:
    evidence = Evidence(POLICY)
    told = [evidence.add(score(1.2 * i, 3.0 if i == 15 else -3.0)) for i in range(30)]
    assert "fake" not in {each.state for each in told}


@pytest.mark.parametrize("minutes", [1, 10])
def test_a_look_alike_who_leans_a_little_never_adds_up_to_certainty(minutes: int) -> None:
    evidence = Evidence(Policy(threshold=0.95, correlation=0.5))
    p_fakes = [evidence.add(score(1.2 * i, 0.8)).p_fake or 0.0 for i in range(minutes * 50)]
    assert max(p_fakes) < 1 / (1 + np.exp(-0.8 / 0.5)) + 0.01, "the mean over the correlation is the bound"


def test_genuine_looks_do_not_rule_out_a_forgery_that_models_cannot_see() -> None:
    evidence = Evidence(Policy(threshold=0.8, seen_share=0.4))
    p_fakes = [evidence.add(score(1.2 * i, -6.0)).p_fake or 0.0 for i in range(30)]
    assert p_fakes[-1] == pytest.approx(0.6 / 1.6, abs=0.01)
    assert [evidence.add(score(36.0 + 1.2 * i, 6.0)).state for i in range(2)][-1] == "fake", "what is seen counts in full"


@pytest.mark.parametrize("policy", [POLICY, Policy(0.6, correlation=0.9, spread=1.0), Policy(threshold=0.4, suspicious=0.4)])
def test_genuine_never_stands_beside_half_and_fake_never_below_the_threshold(policy: Policy) -> None:
    rng, evidence = np.random.default_rng(2), Evidence(policy)
    told = [evidence.add(score(1.2 * i, float(rng.normal(np.sin(i / 9) * 2, 2)))) for i in range(400)]
    p_fakes = {state: [each.p_fake or 0.0 for each in told if each.state == state] for state in ("genuine", "fake")}
    assert max(p_fakes["genuine"]) < policy.suspicious <= 0.5
    assert min(p_fakes["fake"]) >= policy.threshold


def lip_score(start_s: float, curve: np.ndarray, track_id: int = 0, speech_s: float = 2.4, **more) -> Score:  # type: ignore[no-untyped-def]
    return Score("sync", track_id, start_s, start_s + 2.4, None, sync_curve=curve, speech_s=speech_s, **more)


def curve_with_peak(lag: int, height: float, seed: int) -> np.ndarray:
    curve = np.random.default_rng(seed).normal(0, 0.1, LAGS).astype(np.float32)
    curve[lag + MAX_LAG_STEPS - 1 : lag + MAX_LAG_STEPS + 2] += np.array([0.5, 1.0, 0.5], np.float32) * height
    return curve


SYNC = ModalityCalibration(
    fusions=(Logistic(weights={"fit": -3.5}, bias=5.5), Logistic(weights={"agreement": -3.0}, bias=4.0)),
    threshold=0.8,
    suspicious=0.5,
)


def lips(curves: list[np.ndarray]) -> list[Verdict]:
    evidence = Evidence(POLICIES.sync, SYNC)
    return [evidence.add(lip_score(2.4 * i, curve)) for i, curve in enumerate(curves)]


def test_sync_judges_the_mean_curve_and_a_constant_offset_is_no_forgery() -> None:
    told = lips([curve_with_peak(10, 0.5, seed) for seed in range(5)])
    assert told[-1].state == "genuine"
    assert told[-1].offset_ms == pytest.approx(400.0, abs=20)


def test_a_lag_that_drifts_is_no_forgery_and_is_told_as_it_is_now() -> None:
    told = lips([curve_with_peak(-20 + index, 0.5, index) for index in range(40)])
    assert "fake" not in {each.state for each in told}
    assert told[-1].offset_ms == pytest.approx(19 * 40.0, abs=60)


def test_sync_peaks_that_never_agree_are_a_dub() -> None:
    told = lips([curve_with_peak(lag, 0.1, seed) for seed, lag in enumerate((-20, 11, 3, -7, 28, 15))])
    assert told[-1].state == "fake"
    assert told[-1].offset_ms is None


def test_a_dub_that_begins_in_mid_call_is_found_and_so_is_its_end() -> None:
    in_step, dubbed = [curve_with_peak(2, 0.5, seed) for seed in range(10)], [curve_with_peak(0, 0.0, 100 + seed) for seed in range(6)]
    told = lips([*in_step, *dubbed, *in_step])
    states = [each.state for each in told]
    assert set(states[:10]) == {"genuine"}
    assert "fake" in states[10:14], "within four curves"
    assert told[15].since_s == pytest.approx(24.0)
    assert set(states[20:]) == {"genuine"}


def test_similarity_curve_finds_the_lag_and_ignores_silence() -> None:
    rng = np.random.default_rng(1)
    speech = rng.normal(size=(100, 16)).astype(np.float32)
    speech /= np.linalg.norm(speech, axis=1, keepdims=True)
    lips, voice = speech[20:80], speech[12:72]  # what the lips do now is heard 8 steps later
    offset_s, confidence = peak(similarity_curve(lips, voice, np.ones(60, np.bool_)))
    assert offset_s == pytest.approx(0.32, abs=0.02)
    assert confidence > 2.5
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


def test_a_segment_ends_with_its_evidence_not_with_the_silence_after_it() -> None:
    spoken = [score(1.2 * i, 5.0) for i in range(5)] + [score(6.0 + 1.2 * i, None, "no_speech") for i in range(10)]
    told = alerts(Incidents("s", POLICIES), spoken)
    assert (told[-1].kind, told[-1].segments[0].end_s) == ("closed", pytest.approx(6.0))
    assert told[-1].time_s <= 13.3


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


def test_lips_of_two_people_are_never_averaged_and_silence_is_said_of_who_spoke_last() -> None:
    policies = replace(POLICIES, sync_calibration=SYNC)
    incidents = Incidents("s", policies)
    told: list[Verdict] = []
    for index in range(6):  # one in step, one whose voice comes from elsewhere, in turns
        curve = curve_with_peak(2, 0.6, index) if index % 2 == 0 else curve_with_peak(0, 0.0, index)
        told += [each for each in incidents.add([lip_score(2.4 * index, curve, track_id=index % 2)]) if isinstance(each, Verdict)]
    assert {each.state for each in told if each.track_id == 0} == {"genuine"}
    assert told[-1].track_id == 1
    assert told[-1].state == "fake"
    silent = incidents.add([Score("sync", None, 14.4, 15.6, None, "no_speech")])
    assert [each.track_id for each in silent if isinstance(each, Verdict)] == [1]


def cut_call(curves: list[np.ndarray], every: int) -> list[Verdict]:
    """One lonely face, another after every so many curves."""
    incidents = Incidents("s", replace(POLICIES, sync_calibration=SYNC))
    told: list[Verdict] = []
    for index, curve in enumerate(curves):
        face = Score("video", index // every, 2.4 * index, 2.4 * index + 2.4, -3.0)
        told += [each for each in incidents.add([face, lip_score(2.4 * index, curve, index // every)]) if isinstance(each, Verdict)]
    return [each for each in told if each.modality == "sync"]


def test_a_dub_is_called_across_jump_cuts_and_one_incident_follows_the_faces() -> None:
    told = cut_call([curve_with_peak(0, 0.0, seed) for seed in range(6)], every=1)
    assert told[-1].state == "fake"
    assert told[-1].since_s == 0.0
    assert told[-1].track_id == 5


@pytest.mark.parametrize(("speech_s", "states"), [(1.9, ["fake", "fake"]), (1.3, ["suspicious", "fake"])])
def test_what_a_cut_leaves_of_a_window_is_no_whole_look(speech_s: float, states: list[str]) -> None:
    """A stretch of sync matures by the seconds that were compared, not by those of the windows."""
    sync = Evidence(POLICIES.sync, SYNC)
    told = [sync.add(lip_score(2.4 * index, curve_with_peak(0, 0.0, index), speech_s=speech_s)) for index in range(3)]
    assert [each.evidence_s for each in told] == pytest.approx([speech_s, 2 * speech_s, 3 * speech_s])
    assert [each.state for each in told][-len(states) :] == states
    assert all(each.coverage == pytest.approx(1.0) for each in told), "it was looked at"


def test_people_who_change_each_with_a_lag_of_their_own_are_no_dub() -> None:
    told = cut_call([curve_with_peak(8 * (seed // 2 % 3) - 8, 0.5, seed) for seed in range(12)], every=2)
    assert {each.state for each in told[1:]} == {"genuine"}
    assert told[-1].offset_ms == pytest.approx(320, abs=40)


def test_somebody_beside_the_speaker_begins_with_evidence_of_his_own() -> None:
    incidents = Incidents("s", replace(POLICIES, sync_calibration=SYNC))
    for index in range(6):
        faces = [Score("video", track_id, 2.4 * index, 2.4 * index + 2.4, -3.0) for track_id in (0, 1)]
        curve = curve_with_peak(0, 0.0, index) if index < 4 else curve_with_peak(2, 0.6, index)
        told = incidents.add([*faces, lip_score(2.4 * index, curve, int(index >= 4))])
    (sync,) = [each for each in told if isinstance(each, Verdict) and each.modality == "sync"]
    assert sync.track_id == 1
    assert sync.evidence_s == pytest.approx(4.8)


def test_cuts_to_somebody_whose_lips_hardly_fit_never_add_up_to_certainty() -> None:
    odd = next(curve for seed in range(99) if 0.5 < (SYNC.logit(fitting(curve := curve_with_peak(2, 0.35, seed), 2.4)) or 0.0) < 0.8)
    told = cut_call([odd] * 40, every=1)
    assert max(each.p_fake or 0.0 for each in told) < 1 / (1 + np.exp(-0.8))


def test_the_edges_of_a_dub_come_from_the_moments_at_the_lag_that_fitted() -> None:
    policies, begin_s, end_s, lag = replace(POLICIES, sync_calibration=SYNC), 9.0, 19.5, MAX_LAG_STEPS + 4
    incidents, rng = Incidents("s", policies), np.random.default_rng(3)
    closed = []
    for index in range(16):
        local, start_s = [], 2.4 * index
        for time_s in start_s + 0.2 + 0.4 * np.arange(6):
            curve = rng.normal(0, 0.1, LAGS).astype(np.float32)
            curve[lag - 1 : lag + 2] += 0.0 if begin_s <= time_s < end_s else 0.5
            local.append((float(time_s), curve))
        score = lip_score(start_s, np.mean([curve for _, curve in local], axis=0), sync_local=tuple(local))
        closed += [each for each in incidents.add([score]) if isinstance(each, Alert) and each.kind == "closed"]
    (segment,) = closed[0].segments
    assert (segment.start_s, segment.end_s) == (pytest.approx(begin_s, abs=0.41), pytest.approx(end_s, abs=0.41))


def test_a_lower_threshold_from_the_config_lowers_suspicious_too() -> None:
    policies = Policies.from_calibration(CALIBRATION, {"audio": {"threshold": 0.3, "min_evidence_s": None}})
    assert (policies.audio.threshold, policies.audio.suspicious) == (0.3, 0.3)
    assert policies.audio.min_evidence_s == POLICIES.audio.min_evidence_s
    assert policies.video.threshold == 0.8

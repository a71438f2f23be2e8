import numpy as np
import pytest

from monitor.alerts.incidents import Incidents
from monitor.alerts.summary import Summary
from monitor.media import Alert, Heatmap, Score, Verdict
from tests.fakes import POLICIES


def summed(batches: list[list[Score]]) -> Summary:
    summary, incidents = Summary(POLICIES), Incidents("clip", POLICIES)
    for index, scores in enumerate(batches):
        for score in scores:
            summary.score(score)
        for event in incidents.add(scores, last=index == len(batches) - 1):
            assert isinstance(event, Verdict | Alert)
            summary.event(event)
    for alert in incidents.close(batches[-1][0].end_s):
        summary.event(alert)
    return summary


def audio(start_s: float, end_s: float, logit: float | None, reason=None) -> Score:
    return Score("audio", None, start_s, end_s, logit, reason)


def test_a_few_forged_seconds_in_a_long_file_are_found() -> None:
    summary = summed([[audio(1.2 * i, 1.2 * i + 1.2, 5.0 if 20 <= i < 28 else -5.0)] for i in range(60)])
    verdict = summary.verdict("audio")
    assert verdict.state == "fake"
    assert verdict.p_fake is not None
    assert verdict.p_fake > 0.9
    (segment,) = summary.segments
    assert (segment.start_s, segment.end_s) == (pytest.approx(24.0), pytest.approx(33.6))


def test_immature_evidence_does_not_decide_a_long_file() -> None:
    verdict = summed([[audio(0.0, 1.2, 3.0)], *[[audio(1.2 * i, 1.2 * i + 1.2, -5.0)] for i in range(1, 20)]]).verdict("audio")
    assert verdict.state == "genuine"


def test_nothing_judged_names_the_weightiest_reason() -> None:
    summary = summed([[audio(0.0, 2.4, None, "no_speech"), Score("video", None, 0.0, 2.4, None, "no_video_track")]])
    assert (summary.verdict("audio").state, summary.verdict("audio").reason) == ("insufficient", "no_speech")
    assert summary.verdict("video").reason == "no_video_track"
    assert summary.verdict("video").p_fake is None


def test_coverage_counts_seconds_once_over_several_faces() -> None:
    pair = [[Score("video", track, 0.0, 2.4, -3.0, None, (0.1, 0.1, 0.3, 0.4)) for track in (0, 1)]]
    summary = summed([*pair, [Score("video", None, 2.4, 4.8, None, "no_face")]])
    assert summary.verdict("video").coverage == pytest.approx(0.5)
    assert [track.track_id for track in summary.tracks] == [0, 1]


def test_a_too_short_clip_still_gives_its_score() -> None:
    verdict = summed([[audio(0.0, 0.3, -1.0)], [audio(0.3, 0.5, 2.0)]]).verdict("audio")
    assert (verdict.state, verdict.reason) == ("insufficient", "too_short")
    assert verdict.p_fake is not None
    assert verdict.p_fake > 0.5, "the last score counts, not the first"


def test_heatmaps_are_kept_with_their_face() -> None:
    heatmap = Heatmap(0.4, np.zeros((16, 16), np.float32), np.zeros((128, 128, 3), np.uint8))
    summary = summed([[Score("video", 3, 0.0, 2.4, 2.0, None, (0, 0, 1, 1), heatmap=heatmap)]])
    assert [(track, logit) for track, logit, _ in summary.heatmaps] == [(3, 2.0)]


def test_at_the_end_of_a_file_what_has_no_new_score_is_concluded_too() -> None:
    curve = np.random.default_rng(3).normal(0, 0.1, 61).astype(np.float32)
    lips = Score("sync", 0, 0.0, 2.4, None, sync_curve=curve)
    for end, verdicts in ([audio(2.4, 3.2, -4.0)], 1), ([audio(20.0, 21.2, -4.0)], 0):
        incidents = Incidents("clip", POLICIES)
        incidents.add([lips])
        told = incidents.add(end, last=True)
        assert sum(isinstance(event, Verdict) and event.modality == "sync" for event in told) == verdicts, "unless it is stale"

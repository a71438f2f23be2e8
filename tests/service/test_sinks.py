"""The incident log, the metrics and the live view, event by event."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from monitor.errors import SinkError
from monitor.inference.session import ModelInfo
from monitor.media import (
    Alert,
    Batched,
    Decided,
    Dropped,
    Event,
    Frames,
    Heatmap,
    Lost,
    QueueDepth,
    Segment,
    StageTime,
    StreamState,
    Verdict,
)
from monitor.sinks.live import WATCHER_CAPACITY, Live
from monitor.sinks.log import IncidentLog
from monitor.sinks.metrics import Metrics
from monitor.sinks.records import Records, severity
from tests.service.conftest import eventually

ROOT = Path(__file__).parents[2]
SCHEMA = Draft202012Validator(json.loads((ROOT / "docs/alert.schema.json").read_text()), format_checker=Draft202012Validator.FORMAT_CHECKER)
ALERT = Alert(
    incident_id="a-video-1",
    kind="opened",
    stream="a",
    modality="video",
    track_id=3,
    time_s=12.0,
    since_s=7.2,
    p_fake=0.93,
    threshold=0.8,
    coverage=0.5,
    evidence_s=4.8,
    explanation="The face looks forged.",
    segments=(Segment("video", 3, 7.2, 12.0, 0.93),),
)
HEATMAP = Heatmap(11.0, np.zeros((16, 16), np.float32), np.zeros((128, 128, 3), np.uint8))
MODELS = (ModelInfo("face_forgery", "ab" * 32, "CPUExecutionProvider", "CPUExecutionProvider"),)


def records() -> Records:
    made = Records(now=lambda: datetime(2026, 11, 21, 18, 30, 0, 123_000, UTC))
    made.models = MODELS
    return made


@pytest.mark.parametrize(
    "alert",
    [
        ALERT,
        replace(ALERT, kind="closed", p_fake=0.1, heatmap=HEATMAP),
        replace(ALERT, modality="sync", track_id=None, segments=()),
        replace(ALERT, modality="audio", track_id=None, kind="updated"),
    ],
)
def test_an_alert_is_what_the_schema_says(alert: Alert) -> None:
    made = records()
    made("a", Decided(alert.modality, 0.4321))
    record = made.of(alert)
    SCHEMA.validate(record)
    assert record["decision_latency_ms"] == 432
    assert record["wall_time"] == "2026-11-21T18:30:00.123Z"
    assert json.loads(json.dumps(record)) == record


def test_an_alert_as_microsoft_graph_would_have_it() -> None:
    record = records().of(replace(ALERT, modality="sync", segments=(Segment("sync", None, 7.2, 12.9, 0.93),)))
    assert record["syntheticConfidence"] == record["p_fake"] == 0.93
    assert record["detections"] == [
        {
            "confidence": 0.93,
            "modality": "multimodal",
            "modelName": "audio_visual",
            "modelTasks": ["lipSync"],
            "segment": {"startTimeSec": 7, "endTimeSec": 12, "frameIndices": []},
        }
    ]


def test_every_alert_has_an_id_of_its_own_and_an_incident_keeps_its() -> None:
    steps = [ALERT, replace(ALERT, kind="updated", time_s=17.0), replace(ALERT, kind="updated", time_s=22.0), replace(ALERT, kind="closed")]
    told = [records().of(step) for step in steps]
    assert len({record["id"] for record in told}) == len({record["detectionId"] for record in told}) == 4
    assert {record["incident_id"] for record in told} == {"a-video-1"}


def test_severity() -> None:
    assert [severity(replace(ALERT, p_fake=p)) for p in (0.79, 0.8, 0.89, 0.9, 1.0)] == ["low", "medium", "medium", "high", "high"]


async def test_the_log_holds_every_alert_also_those_of_the_last_moment(tmp_path: Path) -> None:
    path = tmp_path / "incidents.ndjson"
    outcomes: list[str] = []
    log = IncidentLog(str(path), records(), lambda sink, outcome: outcomes.append(f"{sink} {outcome}"))
    writing = asyncio.create_task(log.run())
    for number in range(50):
        log("a", replace(ALERT, incident_id=f"a-video-{number}"))
    log("a", StreamState("ended"))
    log.close()
    await writing
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["incident_id"] for line in lines] == [f"a-video-{number}" for number in range(50)]
    assert outcomes == ["log delivered"] * 50
    for line in lines:
        SCHEMA.validate(line)


async def test_the_log_waits_for_a_disk_that_refuses(tmp_path: Path) -> None:
    path = tmp_path / "incidents.ndjson"
    outcomes: list[str] = []
    log = IncidentLog(str(path), records(), lambda _, outcome: outcomes.append(outcome), retry_s=0.01)
    path.unlink()
    path.mkdir()  # nothing can be appended to a folder, whoever tries
    writing = asyncio.create_task(log.run())
    log("a", ALERT)
    await eventually(lambda: outcomes)
    path.rmdir()
    log.close()
    await writing
    assert outcomes[0] == "retried"
    assert outcomes[-1] == "delivered"
    assert len(path.read_text().splitlines()) == 1


async def test_an_alert_that_can_never_be_written_is_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "incidents.ndjson"
    log = IncidentLog(str(path), records(), lambda *_: None, retry_s=0.01)
    path.unlink()
    path.mkdir()
    log("a", ALERT)
    log.close()
    await log.run()
    assert json.loads(capsys.readouterr().err)["incident_id"] == "a-video-1"


def test_a_log_that_cannot_be_opened_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"log.incidents_path: .* cannot be written .*; give a path"):
        IncidentLog(str(tmp_path / "no" / "x.ndjson"), records(), lambda *_: None)


EVERYTHING: list[Event] = [
    StreamState("connecting"),
    StreamState("live"),
    Frames("video", "judged", 25),
    Frames("audio", "no_speech", 1),
    Dropped("faces", 3),
    Lost(2.0, "video", packets=7, frames=2),
    Lost(2.0, "audio", packets=1),
    QueueDepth("media", 5),
    StageTime("models", 0.02),
    Decided("video", 0.4),
    Batched("face_forgery", 3),
    Verdict("video", 3, 12.0, "fake", None, 0.93, 0.5, 0.8),
    Verdict("sync", None, 12.0, "genuine", None, 0.1, 0.5, 0.8, -40.0),
    ALERT,
    StreamState("reconnecting", "the camera was unplugged"),
    StreamState("live"),
]


def exposed(metrics: Metrics) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def filled() -> Metrics:
    metrics = Metrics("1.2.3")
    metrics.models_loaded(MODELS)
    metrics.delivered("log", "delivered")
    for event in EVERYTHING:
        metrics("a", event)
    return metrics


CONTRACT = """
    build_info{version} model_info{model,sha256,provider} stream_up{stream} streams{state} frames_total{stream,modality,outcome}
    drops_total{stream,stage} lost_packets_total{stream,modality} corrupt_frames_total{stream,modality} queue_depth{stage}
    score{stream,modality} coverage_ratio{stream,modality} av_offset_seconds{stream}
    stage_duration_seconds{stage} decision_latency_seconds{modality} batch_size{} incidents_total{stream,modality}
    incidents_open{stream,modality} alert_delivery_total{sink,outcome} stream_reconnects_total{stream,reason}
    inference_fallback_total{wanted,got} canary_last_success_timestamp_seconds{}
"""


def test_names_and_labels_are_what_dashboards_rely_on() -> None:
    promised = {f"deepfake_{name}": set(filter(None, labels.split(","))) for name, labels in re.findall(r"(\w+)\{([\w,]*)\}", CONTRACT)}
    found = {metric._name + ("_total" if metric._type == "counter" else ""): set(metric._labelnames) for metric in collectors(filled())}
    assert found == promised


def collectors(metrics: Metrics) -> list[Any]:
    return list(metrics.registry._collector_to_names)


def test_values_follow_the_events() -> None:
    values = {(name, *sorted(labels.items())): value for name, labels, value in exposed(filled())}
    a, video = ("stream", "a"), ("modality", "video")
    assert values["deepfake_frames_total", video, ("outcome", "judged"), a] == 25
    assert values["deepfake_drops_total", ("stage", "faces"), a] == 3
    assert values["deepfake_lost_packets_total", video, a] == 7
    assert values["deepfake_corrupt_frames_total", video, a] == 2
    assert values["deepfake_lost_packets_total", ("modality", "audio"), a] == 1
    assert values["deepfake_queue_depth", ("stage", "media")] == 5
    assert values["deepfake_av_offset_seconds", a] == -0.04
    assert values["deepfake_incidents_total", video, a] == values["deepfake_stream_up", a] == 1
    assert values["deepfake_stream_reconnects_total", ("reason", "source_error"), a] == 1
    assert values["deepfake_streams", ("state", "live")] == 1
    assert values["deepfake_decision_latency_seconds_bucket", ("le", "0.5"), video] == 1
    assert not [key for key in values if key[0] == "deepfake_score"], "the score of a stream that is not judged any more is gone"


def test_the_score_is_that_of_the_most_suspicious_face_in_the_picture() -> None:
    metrics = Metrics("1")
    scores = []
    for track_id, time_s, p_fake in [(1, 1.0, 0.9), (2, 1.0, 0.2), (2, 5.0, 0.3), (2, 7.0, 0.4), (2, 8.0, None)]:
        state = "genuine" if p_fake else "insufficient"
        metrics("a", Verdict("video", track_id, time_s, state, None if p_fake else "no_face", p_fake, 0.5, 0.95))  # type: ignore[arg-type]
        scores.append([value for name, _, value in exposed(metrics) if name == "deepfake_score"])
    assert scores == [[0.9], [0.9], [0.9], [0.4], []]


def test_a_stream_that_is_gone_leaves_no_series() -> None:
    metrics = filled()
    metrics.forget("a")
    assert not [name for name, labels, _ in exposed(metrics) if "stream" in labels]
    assert {value for name, _, value in exposed(metrics) if name in {"deepfake_streams", "deepfake_queue_depth"}} == {0.0}


def test_the_page_is_shown_the_gravest_face() -> None:
    live = Live(records())
    live.begin("a", "whip")
    live("a", Verdict("video", 1, 1.0, "fake", None, 0.9, 0.5, 0.8))
    live("a", Verdict("video", 2, 1.0, "genuine", None, 0.1, 0.5, 0.8))
    shown = live.streams["a"].json()
    assert shown["verdicts"]["video"]["track_id"] == 1
    assert [track["track_id"] for track in shown["tracks"]] == [1, 2]
    live("a", Verdict("video", 2, 9.0, "genuine", None, 0.1, 0.5, 0.8))
    assert live.streams["a"].json()["verdicts"]["video"]["track_id"] == 2, "a face that left does not stay the gravest"
    live("a", StreamState("ended"))
    assert not live.streams["a"].json()["verdicts"]


async def test_a_slow_reader_loses_the_oldest_events_and_is_told() -> None:
    live = Live(records())
    live.begin("a", "whip")
    with live.watch() as watcher:
        for number in range(WATCHER_CAPACITY + 5):
            live("a", Verdict("audio", None, float(number), "genuine", None, 0.1, 1.0, 0.8))
        told = watcher.events(beat_s=1.0)
        assert await anext(told) == ("dropped", '{"count": 5}')
        kind, data = await anext(told)
        assert (kind, json.loads(data)["time_s"]) == ("verdict", 5.0)
    assert not live.watchers


async def test_a_silent_stream_still_beats() -> None:
    live = Live(records())
    with live.watch() as watcher:
        assert await anext(watcher.events(beat_s=0.01)) == ("beat", "")


def test_old_incidents_are_forgotten_open_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.sinks.live.INCIDENTS_KEPT", 3)
    live = Live(records())
    live.begin("a", "whip")
    for number in range(6):
        live("a", replace(ALERT, incident_id=f"i{number}"))
        if number:
            live("a", replace(ALERT, incident_id=f"i{number}", kind="closed"))
    assert list(live.incidents) == ["i0", "i4", "i5"]

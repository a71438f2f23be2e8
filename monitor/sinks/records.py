"""The one place where an alert becomes the JSON object that everybody outside reads (docs/alert.schema.json)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

from monitor.media import Alert, Decided, Event, Modality, Segment

# Microsoft Graph (syntheticMediaDetectionDetail, beta) knows no "sync": both kinds of media together are "multimodal".
_GRAPH_MODALITY: dict[Modality, str] = {"audio": "audio", "video": "video", "sync": "multimodal"}
_MODEL_OF: dict[Modality, str] = {"audio": "voice_forgery", "video": "face_forgery", "sync": "audio_visual"}
_MODEL_TASKS: dict[Modality, list[str]] = {"audio": ["voiceClone"], "video": ["faceSwap", "faceReenactment"], "sync": ["lipSync"]}


class Model(Protocol):
    """What is said about a model that took part; `wanted` is the provider asked for, `provider` the one it runs on."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def wanted(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What the JSON says beyond the alert itself. `participant`: who publishes the stream, None when unknown."""

    wall_time: datetime
    models: Sequence[Model] = ()
    decision_latency_s: float | None = None
    participant: str | None = None


def alert_json(alert: Alert, context: Context) -> dict[str, Any]:
    """The alert as in contract.md. `id` is the same wherever this alert is shown; `state` is what the incident is about."""
    alert_id = f"{alert.incident_id}-{alert.kind}-{round(alert.time_s * 1000)}"
    models = [{"name": model.name, "sha256": model.sha256} for model in context.models]
    latency_s = context.decision_latency_s
    return {
        "id": alert_id,
        "incident_id": alert.incident_id,
        "kind": alert.kind,
        "stream": alert.stream,
        "participant": context.participant,
        "track_id": alert.track_id,
        "modality": alert.modality,
        "state": "fake",
        "p_fake": round(alert.p_fake, 4),
        "threshold": alert.threshold,
        "severity": severity(alert),
        "since_s": round(alert.since_s, 3),
        "time_s": round(alert.time_s, 3),
        "wall_time": context.wall_time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "evidence_s": round(alert.evidence_s, 3),
        "decision_latency_ms": None if latency_s is None else round(latency_s * 1000),
        "coverage": round(alert.coverage, 4),
        "segments": [_segment(segment) for segment in alert.segments],
        "heatmap": f"/api/v1/incidents/{alert.incident_id}/heatmap.png" if alert.heatmap is not None else None,
        "models": models,
        "explanation": alert.explanation,
        "detectionId": str(uuid5(NAMESPACE_URL, f"urn:deepfake-monitor:{alert_id}")),
        "syntheticConfidence": round(alert.p_fake, 4),
        "detections": [_detection(segment) for segment in alert.segments],
    }


def severity(alert: Alert) -> str:
    """ "low" below the threshold (an incident that calms down), "high" in the upper half between threshold and 1."""
    if alert.p_fake < alert.threshold:
        return "low"
    return "high" if alert.p_fake >= (1 + alert.threshold) / 2 else "medium"


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        **asdict(segment),
        "start_s": round(segment.start_s, 3),
        "end_s": round(segment.end_s, 3),
        "p_fake": round(segment.p_fake, 4),
    }


def _detection(segment: Segment) -> dict[str, Any]:
    return {
        "confidence": round(segment.p_fake, 4),
        "modality": _GRAPH_MODALITY[segment.modality],
        "modelName": _MODEL_OF[segment.modality],
        "modelTasks": _MODEL_TASKS[segment.modality],
        "segment": {"startTimeSec": int(segment.start_s), "endTimeSec": int(segment.end_s), "frameIndices": []},
    }


class Records:
    """Makes every alert's JSON once, so that all sinks show the same. Called as a sink before the others, it learns the latencies.

    `participants`: stream → who publishes it, where that was told.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.models: Sequence[Model] = ()
        self.participants: dict[str, str] = {}
        self.now = now
        self._latency_s: dict[tuple[str, Modality], float] = {}
        self._newest: tuple[Alert, dict[str, Any]] | None = None

    def __call__(self, stream: str, event: Event) -> None:
        if isinstance(event, Decided):
            self._latency_s[stream, event.modality] = event.latency_s

    def of(self, alert: Alert) -> dict[str, Any]:
        if self._newest is None or self._newest[0] is not alert:
            latency_s = self._latency_s.get((alert.stream, alert.modality))
            context = Context(self.now(), self.models, latency_s, self.participants.get(alert.stream))
            self._newest = (alert, alert_json(alert, context))
        return self._newest[1]

    def forget(self, stream: str) -> None:
        self.participants.pop(stream, None)
        self._latency_s = {key: value for key, value in self._latency_s.items() if key[0] != stream}

"""What Prometheus scrapes: every name of contract.md, labels only `stream`, `modality` and enumerated values."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from monitor.media import (
    MODALITIES,
    Alert,
    Batched,
    Decided,
    Dropped,
    Event,
    Frames,
    Lost,
    Modality,
    QueueDepth,
    Stage,
    StageTime,
    StreamState,
    Verdict,
)
from monitor.sinks.records import Model

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES: tuple[str, ...] = ("connecting", "live", "stalled", "reconnecting", "failed", "ended")
STAGES: tuple[Stage, ...] = get_args(Stage)
_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LATENCY_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_STALE_S = 5.0  # a face not judged for this long no longer counts for its stream's score
disable_created_metrics()  # type: ignore[no-untyped-call]


def reconnect_reason(said: str) -> str:
    """One of three label values, from the line that is said to people."""
    if said.startswith("internal error"):
        return "internal_error"
    return "media_ended" if said == "the media ended" else "source_error"


class Metrics:
    """A sink with a registry of its own. `deepfake_score` is that of the most suspicious face or voice now; absent while there is none."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._state: dict[str, str] = {}
        self._scores: dict[tuple[str, Modality], dict[int | None, Verdict]] = defaultdict(dict)
        self._depth: dict[tuple[Stage, str], int] = {}
        self._define_streams()
        self._per_stream: tuple[MetricWrapperBase, ...] = (
            self.stream_up,
            self.frames,
            self.drops,
            self.lost_packets,
            self.corrupt_frames,
            self.score,
            self.coverage,
            self.av_offset,
            self.incidents,
            self.incidents_open,
            self.reconnects,
        )
        self._define_process()
        self.build_info.labels(version).set(1)
        for state in STATES:
            self.streams.labels(state).set(0)
        for stage in STAGES:
            self.queue_depth.labels(stage).set(0)

    def _define_streams(self) -> None:
        self.stream_up = self._gauge("stream_up", "1 while media arrives, else 0.", "stream")
        self.frames = self._counter("frames_total", "Frames (video) and windows (audio, sync) by outcome.", "stream", "modality", "outcome")
        self.drops = self._counter("drops_total", "Items lost because a stage could not keep up.", "stream", "stage")
        self.lost_packets = self._counter("lost_packets_total", "RTP packets that never came in time.", "stream", "modality")
        self.corrupt_frames = self._counter("corrupt_frames_total", "Encoded frames that no decoder could use.", "stream", "modality")
        self.score = self._gauge("score", "Calibrated p_fake, 0 to 1.", "stream", "modality")
        self.coverage = self._gauge("coverage_ratio", "Share of the media time in which this modality was judged.", "stream", "modality")
        self.av_offset = self._gauge("av_offset_seconds", "Measured lag of sound behind picture.", "stream")
        self.incidents = self._counter("incidents_total", "Incidents opened.", "stream", "modality")
        self.incidents_open = self._gauge("incidents_open", "Incidents open now.", "stream", "modality")
        self.reconnects = self._counter("stream_reconnects_total", "New tries after a source failed.", "stream", "reason")

    def _define_process(self) -> None:
        self.build_info = self._gauge("build_info", "Always 1; the version is the label.", "version")
        self.model_info = self._gauge("model_info", "Always 1; which models judge, and on what.", "model", "sha256", "provider")
        self.streams = self._gauge("streams", "Streams by state.", "state")
        self.queue_depth = self._gauge("queue_depth", "Items that wait before a stage, all streams together.", "stage")
        self.stage_duration = self._histogram("stage_duration_seconds", "How long one step of a stage took.", _FAST_S, "stage")
        self.decision_latency = self._histogram("decision_latency_seconds", "From newest media to its judgement.", _LATENCY_S, "modality")
        self.batch_size = self._histogram("batch_size", "Windows or crops in one model call.", (1, 2, 4, 8, 16, 32, 64))
        self.alert_delivery = self._counter("alert_delivery_total", "Alerts by what became of their delivery.", "sink", "outcome")
        self.fallback = self._counter("inference_fallback_total", "Models that run elsewhere than asked.", "wanted", "got")
        self.canary = self._gauge("canary_last_success_timestamp_seconds", "When a known forgery was last recognised; 0: never tried.")

    def __call__(self, stream: str, event: Event) -> None:
        match event:
            case StreamState():
                self._on_state(stream, event)
            case Verdict():
                self._on_verdict(stream, event)
            case Alert():
                self._on_alert(stream, event)
            case Frames():
                self.frames.labels(stream, event.modality, event.outcome).inc(event.count)
            case Lost():
                self._on_lost(stream, event)
            case Dropped():
                self.drops.labels(stream, event.stage).inc(event.count)
            case QueueDepth():
                self._depth[event.stage, stream] = event.depth
                self._show_depth(event.stage)
            case StageTime():
                self.stage_duration.labels(event.stage).observe(event.duration_s)
            case Decided():
                self.decision_latency.labels(event.modality).observe(event.latency_s)
            case Batched():
                self.batch_size.observe(event.size)

    def models_loaded(self, models: Sequence[Model]) -> None:
        for model in models:
            self.model_info.labels(model.name, model.sha256, model.provider).set(1)
            if model.provider != model.wanted:
                self.fallback.labels(model.wanted, model.provider).inc()

    def delivered(self, sink: str, outcome: str) -> None:
        self.alert_delivery.labels(sink, outcome).inc()

    def forget(self, stream: str) -> None:
        """Removes every series of a stream that will not come back."""
        self._state.pop(stream, None)
        self._show_states()
        self._depth = {key: depth for key, depth in self._depth.items() if key[1] != stream}
        for stage in STAGES:
            self._show_depth(stage)
        for modality in MODALITIES:
            self._scores.pop((stream, modality), None)
        for metric in self._per_stream:
            metric.remove_by_labels({"stream": stream})

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    def _on_state(self, stream: str, event: StreamState) -> None:
        if event.state == "reconnecting":
            self.reconnects.labels(stream, reconnect_reason(event.reason)).inc()
        if stream not in self._state or (event.state == "live" and self._state[stream] != "stalled"):
            self._begin(stream)
        self._state[stream] = event.state
        self.stream_up.labels(stream).set(event.state == "live")
        if event.state not in ("live", "stalled"):
            for modality in MODALITIES:
                self._scores.pop((stream, modality), None)
                self.score.remove_by_labels({"stream": stream, "modality": modality})
        self._show_states()

    def _begin(self, stream: str) -> None:
        """Series that exist from the start, so that the first increase is seen."""
        for modality in MODALITIES:
            self.incidents.labels(stream, modality)
            self.incidents_open.labels(stream, modality).set(0)
            self.coverage.labels(stream, modality).set(0)
            if modality != "sync":
                self._on_lost(stream, Lost(0.0, modality))
        for stage in STAGES:
            self.drops.labels(stream, stage)

    def _on_lost(self, stream: str, lost: Lost) -> None:
        self.lost_packets.labels(stream, lost.modality).inc(lost.packets)
        self.corrupt_frames.labels(stream, lost.modality).inc(lost.frames)

    def _on_verdict(self, stream: str, verdict: Verdict) -> None:
        verdicts = self._scores[stream, verdict.modality]
        verdicts[verdict.track_id] = verdict
        for track_id in [track for track, known in verdicts.items() if verdict.time_s - known.time_s > _STALE_S]:
            del verdicts[track_id]
        scores = [known.p_fake for known in verdicts.values() if known.p_fake is not None and known.state != "insufficient"]
        if scores:
            self.score.labels(stream, verdict.modality).set(max(scores))
        else:
            self.score.remove_by_labels({"stream": stream, "modality": verdict.modality})
        self.coverage.labels(stream, verdict.modality).set(max(known.coverage for known in verdicts.values()))
        if verdict.offset_ms is not None:
            self.av_offset.labels(stream).set(verdict.offset_ms / 1000)

    def _on_alert(self, stream: str, alert: Alert) -> None:
        if alert.kind == "opened":
            self.incidents.labels(stream, alert.modality).inc()
            self.incidents_open.labels(stream, alert.modality).inc()
        elif alert.kind == "closed":
            self.incidents_open.labels(stream, alert.modality).dec()

    def _show_states(self) -> None:
        now = list(self._state.values())
        for state in STATES:
            self.streams.labels(state).set(now.count(state))

    def _show_depth(self, stage: Stage) -> None:
        self.queue_depth.labels(stage).set(sum(depth for (of, _), depth in self._depth.items() if of == stage))

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"deepfake_{name}", meaning, labels, registry=self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"deepfake_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(f"deepfake_{name}", meaning, labels, registry=self.registry, buckets=tuple(buckets))

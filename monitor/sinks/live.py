"""What is true now: streams, newest verdicts, incidents; and everybody who watches it change (server-sent events)."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from monitor.media import Alert, Event, Heatmap, Modality, State, StreamState, Verdict
from monitor.sinks.records import Records

HISTORY_S = 60.0  # as much past as the page draws
GONE_S = 5.0  # a face not judged for this long has left the picture
INCIDENTS_KEPT = 500
WATCHER_CAPACITY = 256  # events that wait for one slow reader (about a minute of one stream); beyond that the oldest are dropped

_ORDER: dict[State, int] = {"insufficient": 0, "genuine": 1, "suspicious": 2, "fake": 3}


@dataclass(slots=True)
class LiveStream:
    """`kind`: where it comes from ("file", "rtsp" or "whip"). `truth`: which seconds are forged, where that is known (the demo)."""

    id: str
    kind: str
    state: StreamState = field(default_factory=lambda: StreamState("connecting"))
    verdicts: dict[tuple[Modality, int | None], Verdict] = field(default_factory=dict)
    history: deque[dict[str, Any]] = field(default_factory=deque)
    truth: dict[str, Any] | None = None

    def learn(self, verdict: Verdict) -> None:
        self.verdicts[verdict.modality, verdict.track_id] = verdict
        gone = [key for key, known in self.verdicts.items() if verdict.time_s - known.time_s > GONE_S]
        for key in gone:
            del self.verdicts[key]
        self.history.append(point(verdict))
        while self.history and verdict.time_s - self.history[0]["time_s"] > HISTORY_S:
            self.history.popleft()

    def json(self) -> dict[str, Any]:
        tracks = sorted(self.verdicts.values(), key=lambda verdict: (verdict.modality, verdict.track_id is not None, verdict.track_id or 0))
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state.state,
            "reason": self.state.reason or None,
            "verdicts": worst(tracks),
            "tracks": [verdict_json(verdict) for verdict in tracks if verdict.track_id is not None],
            "history": list(self.history),
            "truth": self.truth,
        }


@dataclass(slots=True)
class Incident:
    """An incident as far as it is known; `alert` is the newest alert's JSON, `explanation` that of the alert with the highest score."""

    alert: dict[str, Any]
    opened: str
    explanation: str = ""
    closed: str | None = None
    peak_p_fake: float = 0.0
    acknowledged: str | None = None
    heatmap: Heatmap | None = None

    def json(self) -> dict[str, Any]:
        same = ("incident_id", "stream", "participant", "modality", "track_id", "since_s", "threshold")
        return {
            **{key: self.alert[key] for key in same},
            "explanation": self.explanation,
            "state": "closed" if self.closed else "open",
            "opened": self.opened,
            "closed": self.closed,
            "until_s": max((segment["end_s"] for segment in self.alert["segments"]), default=self.alert["time_s"]),
            "p_fake": self.alert["p_fake"],
            "peak_p_fake": self.peak_p_fake,
            "severity": self.alert["severity"],
            "coverage": self.alert["coverage"],
            "acknowledged": self.acknowledged,
            "heatmap": f"/api/v1/incidents/{self.alert['incident_id']}/heatmap.png" if self.heatmap else None,
        }


class Watcher:
    """One reader's queue: never longer than WATCHER_CAPACITY; what did not fit is counted, so that the reader can ask for all again."""

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: deque[tuple[str, str]] = deque()
        self._news = asyncio.Event()
        self._closed = False

    def offer(self, kind: str, data: str) -> None:
        if len(self._waiting) >= WATCHER_CAPACITY:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((kind, data))
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def events(self, beat_s: float) -> AsyncIterator[tuple[str, str]]:
        """(event name, JSON); ("beat", "") when nothing happened for `beat_s`, ("dropped", count) after a loss."""
        while not self._closed:
            try:
                await asyncio.wait_for(self._news.wait(), beat_s)
            except TimeoutError:
                yield "beat", ""
            self._news.clear()
            if self.dropped:
                lost, self.dropped = self.dropped, 0
                yield "dropped", json.dumps({"count": lost})
            while self._waiting:
                yield self._waiting.popleft()


class Live:
    """A sink that remembers the present."""

    def __init__(self, records: Records) -> None:
        self.streams: dict[str, LiveStream] = {}
        self.incidents: dict[str, Incident] = {}
        self.watchers: set[Watcher] = set()
        self._records = records

    def begin(self, stream: str, kind: str, truth: dict[str, Any] | None = None) -> None:
        self.streams[stream] = LiveStream(stream, kind, truth=truth)
        self._tell("stream", self.streams[stream].json())

    def forget(self, stream: str) -> None:
        if self.streams.pop(stream, None):
            self._tell("gone", {"id": stream})

    def __call__(self, stream: str, event: Event) -> None:
        match event:
            case Verdict():
                known = self.streams[stream]
                known.learn(event)
                worst_now = worst(list(known.verdicts.values())).get(event.modality)
                self._tell("verdict", {"stream": stream, **point(event), "verdict": worst_now})
            case StreamState():
                self._on_state(self.streams[stream], event)
            case Alert():
                self._on_alert(event)

    def close(self) -> None:
        """Ends every reader's connection."""
        for watcher in self.watchers:
            watcher.close()

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        watcher = Watcher()
        self.watchers.add(watcher)
        try:
            yield watcher
        finally:
            self.watchers.discard(watcher)

    def acknowledge(self, incident_id: str) -> Incident | None:
        """The incident, now seen by a person; None when there is none of this id."""
        incident = self.incidents.get(incident_id)
        if incident is not None and incident.acknowledged is None:
            incident.acknowledged = _rfc3339(self._records.now())
            self._tell("incident", incident.json())
        return incident

    def _on_state(self, known: LiveStream, event: StreamState) -> None:
        if event.state == "live" and known.state.state != "stalled":
            known.history.clear()
        if event.state not in ("live", "stalled"):
            known.verdicts.clear()
        known.state = event
        self._tell("stream", known.json())

    def _on_alert(self, alert: Alert) -> None:
        record = self._records.of(alert)
        incident = self.incidents.get(alert.incident_id)
        if incident is None:
            incident = self.incidents[alert.incident_id] = Incident(record, record["wall_time"])
            self._forget_old()
        incident.alert = record
        if record["p_fake"] >= incident.peak_p_fake:
            incident.peak_p_fake, incident.explanation = record["p_fake"], record["explanation"]
        incident.heatmap = alert.heatmap or incident.heatmap
        if alert.kind == "closed":
            incident.closed = record["wall_time"]
        self._tell("alert", record)
        self._tell("incident", incident.json())

    def _forget_old(self) -> None:
        """The oldest closed ones go first; the open ones stay."""
        closed = [incident_id for incident_id, incident in self.incidents.items() if incident.closed]
        for incident_id in closed[: max(0, len(self.incidents) - INCIDENTS_KEPT)]:
            del self.incidents[incident_id]

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        if self.watchers:
            text = json.dumps(data)
            for watcher in self.watchers:
                watcher.offer(kind, text)


def worst(verdicts: list[Verdict]) -> dict[Modality, dict[str, Any]]:
    """Per modality the verdict that matters most: the gravest state, then the highest score."""
    grave: dict[Modality, Verdict] = {}
    for verdict in verdicts:
        known = grave.get(verdict.modality)
        if known is None or _gravity(verdict) > _gravity(known):
            grave[verdict.modality] = verdict
    return {modality: verdict_json(verdict) for modality, verdict in grave.items()}


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "modality": verdict.modality,
        "track_id": verdict.track_id,
        "time_s": round(verdict.time_s, 3),
        "state": verdict.state,
        "reason": verdict.reason,
        "p_fake": None if verdict.p_fake is None else round(verdict.p_fake, 4),
        "coverage": round(verdict.coverage, 4),
        "threshold": verdict.threshold,
        "offset_ms": verdict.offset_ms,
    }


def point(verdict: Verdict) -> dict[str, Any]:
    """One bar of the page's curve."""
    judged = verdict.p_fake is not None and verdict.state != "insufficient"
    return {
        "modality": verdict.modality,
        "track_id": verdict.track_id,
        "time_s": round(verdict.time_s, 3),
        "state": verdict.state,
        "p_fake": round(verdict.p_fake, 4) if judged and verdict.p_fake is not None else None,
    }


def _gravity(verdict: Verdict) -> tuple[int, float]:
    return _ORDER[verdict.state], verdict.p_fake or 0.0


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

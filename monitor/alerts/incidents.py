"""Incidents: when evidence speaks up, goes on and calms down. Pure: Scores in, Verdicts and Alerts out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from monitor.alerts.calibration import log_odds
from monitor.alerts.evidence import Evidence
from monitor.alerts.policy import Policies
from monitor.media import Alert, Heatmap, Modality, Score, Segment, Verdict

Kind = Literal["opened", "updated", "closed"]
Key = tuple[Modality, int | None]
WORDS: dict[Modality, str] = {
    "audio": "The voice sounds generated or converted",
    "video": "The face looks forged",
    "sync": "Voice and lips do not belong together",
}


@dataclass(slots=True)
class _Open:
    incident_id: str
    since_s: float
    until_s: float
    reported_s: float
    peak_p_fake: float
    calm_since_s: float | None = None


@dataclass(slots=True)
class _Watched:
    """What is known about one modality of one face or stream."""

    evidence: Evidence
    leading_since_s: float | None = None
    led_until_s: float = -1e9
    closed_s: float = -1e9
    opened: _Open | None = None
    verdict: Verdict | None = None
    heatmap: Heatmap | None = None


class Incidents:
    """All of one stream. `incident_id` counts up within the stream: `<stream>-<modality>-<n>`."""

    def __init__(self, stream: str, policies: Policies) -> None:
        self._stream = stream
        self._policies = policies
        self._watched: dict[Key, _Watched] = {}
        self._count = 0

    def add(self, scores: Iterable[Score], *, last: bool = False) -> list[Verdict | Alert]:
        """`last`: these are the stream's last scores."""
        events: list[Verdict | Alert] = []
        for score in scores:
            watched = self._watched.get((score.modality, score.track_id))
            if watched is None:
                watched = self._watched[score.modality, score.track_id] = _Watched(self._evidence(score.modality))
            verdict = watched.verdict = watched.evidence.add(score, last=last)
            events.append(verdict)
            self._note_lead(watched, score)
            alert = self._step(watched, score, verdict)
            if alert is not None:
                events.append(alert)
        return events

    def expire(self, now_s: float) -> list[Alert]:
        """Close what has had no evidence for `stale_s`, as when a face left the picture."""
        return [
            self._close(watched, now_s)
            for (modality, _), watched in self._watched.items()
            if watched.opened and now_s - watched.opened.until_s > self._policies.of(modality).stale_s
        ]

    def close(self, time_s: float) -> list[Alert]:
        """The stream ended: everything open closes."""
        return [self._close(watched, time_s) for watched in self._watched.values() if watched.opened]

    def _evidence(self, modality: Modality) -> Evidence:
        return Evidence(self._policies.of(modality), self._policies.sync_fusion if modality == "sync" else None)

    def _note_lead(self, watched: _Watched, score: Score) -> None:
        """Since when every judged score speaks for a forgery: there the incident began, although it is known only later."""
        policy = self._policies.of(score.modality)
        logit = score.logit if score.sync_curve is None else log_odds(watched.evidence.p_fake or 1e-6)
        if logit is None:
            return
        if logit < log_odds(policy.suspicious):
            watched.leading_since_s = None
        else:
            if watched.leading_since_s is None or score.start_s - watched.led_until_s > policy.stale_s:
                watched.leading_since_s = score.start_s
            watched.led_until_s = score.end_s
            if watched.opened:
                watched.opened.until_s = score.end_s
                watched.opened.peak_p_fake = max(watched.opened.peak_p_fake, watched.evidence.p_fake or 0.0)
            if score.heatmap:
                watched.heatmap = score.heatmap

    def _step(self, watched: _Watched, score: Score, verdict: Verdict) -> Alert | None:
        policy, now_s = self._policies.of(score.modality), score.end_s
        opened = watched.opened
        if opened is None:
            if verdict.state != "fake" or now_s - watched.closed_s < policy.cooldown_s:
                return None
            return self._open(watched, verdict, score)
        calm = verdict.p_fake is None or verdict.p_fake < policy.threshold - 0.1
        if not calm:
            opened.calm_since_s = None
        elif opened.calm_since_s is None:
            opened.calm_since_s = score.start_s
        if opened.calm_since_s is not None and now_s - opened.calm_since_s >= policy.hold_s:
            return self._close(watched, now_s)
        if now_s - opened.reported_s >= policy.update_every_s:
            opened.reported_s = now_s
            return self._alert(watched, opened, "updated", now_s)
        return None

    def _open(self, watched: _Watched, verdict: Verdict, score: Score) -> Alert:
        self._count += 1
        since_s = score.start_s if watched.leading_since_s is None else watched.leading_since_s
        incident_id = f"{self._stream}-{verdict.modality}-{self._count}"
        watched.opened = _Open(incident_id, since_s, score.end_s, score.end_s, verdict.p_fake or 0.0)
        return self._alert(watched, watched.opened, "opened", score.end_s)

    def _close(self, watched: _Watched, time_s: float) -> Alert:
        assert watched.opened
        alert = self._alert(watched, watched.opened, "closed", time_s)
        watched.opened, watched.closed_s, watched.leading_since_s, watched.heatmap = None, time_s, None, None
        return alert

    def _alert(self, watched: _Watched, opened: _Open, kind: Kind, time_s: float) -> Alert:
        verdict = watched.verdict
        assert verdict
        p_fake = verdict.p_fake or 0.0
        return Alert(
            incident_id=opened.incident_id,
            kind=kind,
            stream=self._stream,
            modality=verdict.modality,
            track_id=verdict.track_id,
            time_s=time_s,
            since_s=opened.since_s,
            p_fake=p_fake,
            threshold=verdict.threshold,
            coverage=verdict.coverage,
            evidence_s=watched.evidence.evidence_s,
            explanation=(
                f"{WORDS[verdict.modality]} since {opened.since_s:.1f} s: {p_fake:.2f} against a threshold of {verdict.threshold:.2f}, "
                f"over {watched.evidence.evidence_s:.1f} s of evidence."
            ),
            segments=(Segment(verdict.modality, verdict.track_id, opened.since_s, opened.until_s, opened.peak_p_fake),),
            heatmap=watched.heatmap,
        )

"""Incidents: when evidence speaks up, goes on and calms down. Pure: Scores in, Verdicts and Alerts out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from monitor.alerts.evidence import Evidence
from monitor.alerts.policy import Policies
from monitor.alerts.segments import LIPS_REACH_S, REACH_S, edge, least_fitting, trimmed
from monitor.alerts.sync import Strip
from monitor.media import Alert, Heatmap, Modality, Score, Segment, Verdict

Kind = Literal["opened", "updated", "closed"]
Key = tuple[Modality, int | None]
WORDS: dict[Modality, str] = {
    "audio": "The voice sounds generated or converted",
    "video": "The face looks forged",
    "sync": "Voice and lips do not belong together",
}
SAME_EDGE_S = 2.6


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
    strip: Strip = field(default_factory=Strip)
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
        self._speaker: int | None = None  # whose lips were last compared with the voice
        self._faces: set[int] = set()  # that were last judged
        self._count = 0

    def add(self, scores: Iterable[Score], *, last: bool = False) -> list[Verdict | Alert]:
        """`last`: these are the stream's last scores; what had none among them is concluded too."""
        events: list[Verdict | Alert] = []
        told: set[Key] = set()
        scores = list(scores)
        faces = {score.track_id for score in scores if score.modality == "video" and score.track_id is not None}
        for score in scores:
            key = self._key(score, faces)
            watched = self._watched.get(key)
            if watched is None:
                watched = self._watched[key] = _Watched(self._evidence(score.modality))
            seen = score if score.heard is None else watched.strip.of(score)
            verdict = watched.evidence.add(seen, last=last, elsewhere_s=self._elsewhere_s(key) if last else 0.0)
            if score.heatmap is not None and score.logit is not None and score.logit > 0:
                watched.heatmap = score.heatmap
            events += self._told(watched, verdict)
            told.add(key)
        if last and told:
            now_s = max(watched.verdict.time_s for watched in self._watched.values() if watched.verdict)
            for key, watched in self._watched.items():
                if key not in told and (concluded := watched.evidence.conclude(now_s, self._elsewhere_s(key))) is not None:
                    events += self._told(watched, concluded)
        self._faces = faces or self._faces
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

    def _key(self, score: Score, faces: set[int]) -> Key:
        """While no lips can be compared, that is said of the face that spoke last."""
        if score.modality != "sync":
            return score.modality, score.track_id
        if score.track_id is not None:
            self._hand_over(score.track_id, faces)
            self._speaker = score.track_id
        return "sync", self._speaker

    def _hand_over(self, speaker: int, faces: set[int]) -> None:
        """After a scene cut from one lonely face to another the voice goes on, and so does what is known of it and the lips beside it."""
        before = self._speaker
        now: Key = ("sync", speaker)
        gone = faces == {speaker} and self._faces <= {before, speaker}
        cut_just_now = faces == {before, speaker} and self._faces == {before}
        if before is None or now in self._watched or not (gone or cut_just_now):
            return
        watched = self._watched[now] = self._watched.pop(("sync", before))
        watched.evidence.cut()
        watched.strip = Strip()

    def _elsewhere_s(self, key: Key) -> float:
        """Judged seconds of the same modality of other faces: where there are any, the recording is more than one look."""
        return sum(watched.evidence.judged_s for other, watched in self._watched.items() if other[0] == key[0] and other != key)

    def _evidence(self, modality: Modality) -> Evidence:
        return Evidence(self._policies.of(modality), self._policies.sync_calibration if modality == "sync" else None)

    def _told(self, watched: _Watched, verdict: Verdict) -> list[Verdict | Alert]:
        watched.verdict = verdict
        alert = self._step(watched, watched.opened, verdict) if watched.opened else self._begin(watched, verdict)
        return [verdict] if alert is None else [verdict, alert]

    def _begin(self, watched: _Watched, verdict: Verdict) -> Alert | None:
        if verdict.state != "fake" or verdict.time_s - watched.closed_s < self._policies.of(verdict.modality).cooldown_s:
            return None
        self._count += 1
        incident_id = f"{self._stream}-{verdict.modality}-{self._count}"
        now_s = verdict.time_s
        watched.opened = _Open(incident_id, self._since(watched, verdict), watched.evidence.forged_until_s, now_s, verdict.p_fake or 0.0)
        return self._alert(watched, watched.opened, "opened", now_s)

    def _step(self, watched: _Watched, opened: _Open, verdict: Verdict) -> Alert | None:
        policy, now_s = self._policies.of(verdict.modality), verdict.time_s
        if verdict.p_fake is None or verdict.p_fake < policy.suspicious:
            if opened.calm_since_s is None and verdict.since_s is not None:
                opened.calm_since_s = now_s
                ended_s = min(self._edge(watched, verdict.since_s, rising=False), now_s)
                opened.until_s = ended_s if ended_s > opened.since_s else opened.until_s  # calm since before: all of it is seen anew
        else:
            opened.calm_since_s = None
            if verdict.state != "insufficient":
                opened.until_s = max(opened.until_s, watched.evidence.forged_until_s)
                opened.peak_p_fake = max(opened.peak_p_fake, verdict.p_fake)
                sharper_s = self._since(watched, verdict)  # known better now than when it opened, as long as it is the same edge
                opened.since_s = sharper_s if abs(sharper_s - opened.since_s) <= SAME_EDGE_S else opened.since_s
        if opened.calm_since_s is not None and now_s - opened.calm_since_s >= policy.hold_s:
            return self._close(watched, now_s)
        if now_s - opened.reported_s >= policy.update_every_s:
            opened.reported_s = now_s
            return self._alert(watched, opened, "updated", now_s)
        return None

    def _since(self, watched: _Watched, verdict: Verdict) -> float:
        """Where the forged stretch begins, never inside the incident before."""
        coarse_s = verdict.time_s if verdict.since_s is None else verdict.since_s
        return max(self._edge(watched, coarse_s, rising=True), watched.closed_s)

    def _edge(self, watched: _Watched, near_s: float, *, rising: bool) -> float:
        lips = watched.verdict is not None and watched.verdict.modality == "sync"
        return edge(watched.evidence.moments, near_s, rising=rising, reach_s=LIPS_REACH_S if lips else REACH_S)

    def _close(self, watched: _Watched, time_s: float) -> Alert:
        assert watched.opened
        alert = self._alert(watched, watched.opened, "closed", time_s)
        watched.opened, watched.closed_s, watched.heatmap = None, time_s, None
        return alert

    def _alert(self, watched: _Watched, opened: _Open, kind: Kind, time_s: float) -> Alert:
        verdict = watched.verdict
        assert verdict
        p_fake = verdict.p_fake or 0.0
        exact = least_fitting if verdict.modality == "sync" else trimmed
        start_s, end_s = exact(watched.evidence.moments, opened.since_s, max(opened.since_s, opened.until_s))
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
            evidence_s=verdict.evidence_s,
            explanation=(
                f"{WORDS[verdict.modality]} since {opened.since_s:.1f} s: {p_fake:.2f} against a threshold of {verdict.threshold:.2f}, "
                f"over {verdict.evidence_s:.1f} s of evidence."
            ),
            segments=(Segment(verdict.modality, verdict.track_id, start_s, end_s, opened.peak_p_fake),),
            heatmap=watched.heatmap,
        )

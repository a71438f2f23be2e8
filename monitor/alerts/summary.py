"""One line about a whole recording: what `scan` says of a file, from the same scores, verdicts and alerts that a live call gives."""

from monitor.alerts.policy import Policies
from monitor.media import MODALITIES, Alert, Heatmap, Modality, Reason, Score, Segment, Track, Verdict

REASONS_BY_WEIGHT: tuple[Reason, ...] = (
    "no_audio_track",
    "no_video_track",
    "sync_unknown",
    "not_speaking",
    "face_blurred",
    "face_too_small",
    "no_speech",
    "no_face",
    "too_short",
)


class Summary:
    """Add every Score, Verdict and Alert of one recording; read the rest when it is over.

    A face's or the voice's `p_fake` is the highest one at which it was called fake, else the last one; a modality's is that of its most
    suspicious face. Coverage counts the seconds in which any face or the voice was judged.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._final: dict[tuple[Modality, int | None], Verdict] = {}
        self._judged_s: dict[Modality, float] = dict.fromkeys(MODALITIES, 0.0)
        self._reasons: dict[Modality, list[Reason]] = {modality: [] for modality in MODALITIES}
        self._tracks: dict[int, Track] = {}
        self._judged_until_s: dict[Modality, float] = dict.fromkeys(MODALITIES, -1.0)
        self._from_s = float("inf")
        self._until_s = 0.0
        self.segments: list[Segment] = []
        self.heatmaps: list[tuple[int | None, float, Heatmap]] = []

    def score(self, score: Score) -> None:
        self._from_s, self._until_s = min(self._from_s, score.start_s), max(self._until_s, score.end_s)
        if score.reason is not None:
            self._reasons[score.modality].append(score.reason)
        else:
            newly_from_s = max(score.start_s, self._judged_until_s[score.modality])
            self._judged_s[score.modality] += max(0.0, score.end_s - newly_from_s)
            self._judged_until_s[score.modality] = max(score.end_s, self._judged_until_s[score.modality])
        if score.modality == "video" and score.track_id is not None and score.box_xyxy is not None:
            self._follow(score.track_id, score)
        if score.heatmap is not None and score.logit is not None:
            self.heatmaps.append((score.track_id, score.logit, score.heatmap))

    def event(self, event: Verdict | Alert) -> None:
        match event:
            case Verdict() if event.p_fake is not None:
                self._keep(event)
            case Alert(kind="closed"):
                self.segments.extend(event.segments)

    def verdict(self, modality: Modality) -> Verdict:
        """The whole recording's verdict; state `insufficient` with the weightiest reason met when nothing was judged."""
        policy = self._policies.of(modality)
        span_s = max(self._until_s - min(self._from_s, self._until_s), 1e-6)
        coverage = round(min(1.0, self._judged_s[modality] / span_s), 3)
        kept = [verdict for (kind, _), verdict in self._final.items() if kind == modality]
        if not kept:
            met = set(self._reasons[modality])
            reason: Reason = next((reason for reason in REASONS_BY_WEIGHT if reason in met), "too_short")
            return Verdict(modality, None, self._until_s, "insufficient", reason, None, coverage, policy.threshold)
        top = max(kept, key=lambda verdict: (verdict.reason is None, verdict.p_fake or 0.0))
        return Verdict(modality, top.track_id, top.time_s, top.state, top.reason, top.p_fake, coverage, top.threshold, top.offset_ms)

    @property
    def duration_s(self) -> float:
        return self._until_s

    @property
    def tracks(self) -> list[Track]:
        return [self._tracks[track_id] for track_id in sorted(self._tracks)]

    def _keep(self, verdict: Verdict) -> None:
        key = (verdict.modality, verdict.track_id)
        before = self._final.get(key)
        if before is None or _weight(verdict) >= _weight(before):
            self._final[key] = verdict

    def _follow(self, track_id: int, score: Score) -> None:
        box = score.box_xyxy
        assert box
        known = self._tracks.get(track_id)
        if known is None:
            self._tracks[track_id] = Track(track_id, score.start_s, score.end_s, box)
            return
        old_s, new_s = known.end_s - known.start_s, score.end_s - score.start_s
        mean = [(old * old_s + new * new_s) / max(old_s + new_s, 1e-6) for old, new in zip(known.box_xyxy, box, strict=True)]
        self._tracks[track_id] = Track(track_id, known.start_s, score.end_s, (mean[0], mean[1], mean[2], mean[3]))


def _weight(verdict: Verdict) -> tuple[int, float]:
    """What is called fake weighs more than what was judged, that more than what was too short; of two fakes the surer one."""
    if verdict.state == "fake":
        return 2, verdict.p_fake or 0.0
    return int(verdict.reason is None), 0.0

"""Evidence about one modality of one face or stream, gathered over time. Pure: a Score in, a Verdict out."""

import math

import numpy as np
from numpy.typing import NDArray

from monitor.alerts.calibration import Logistic, sigmoid
from monitor.alerts.policy import Policy
from monitor.alerts.sync import peak
from monitor.media import Reason, Score, State, Verdict

CERTAIN_PEAK = 0.06  # a lower peak says nothing about the offset: nearly all genuine devset clips lie above, a quarter of the dubs below


class Evidence:
    """Remembers judged seconds with a half-life. `min_evidence_s` of them allow a state, `mature_s` allow "fake" (see Policy).

    Log-odds are averaged for audio and video. For sync the similarity curves are, and only their mean is judged: one peak that stands
    out of a long mean is far more certain than many that do so by chance.
    """

    def __init__(self, policy: Policy, sync_fusion: Logistic | None = None) -> None:
        self._policy = policy
        self._sync_fusion = sync_fusion
        self._weight_s = 0.0
        self._logit_sum = 0.0
        self._curve: NDArray[np.float32] | None = None
        self._first_s: float | None = None
        self._judged_until_s = -math.inf
        self.judged_s = 0.0
        self.evidence_s = 0.0
        self.offset_s: float | None = None
        self.reason: Reason | None = None

    @property
    def p_fake(self) -> float | None:
        return sigmoid(self._logit_sum / self._weight_s) if self._weight_s else None

    def add(self, score: Score, *, last: bool = False) -> Verdict:
        """`last`: no more will come, so what there is has to do (a short file)."""
        if self._first_s is None:
            self._first_s = score.start_s
        if score.start_s - self._judged_until_s > self._policy.stale_s:
            self._weight_s = self._logit_sum = self.evidence_s = 0.0
            self._curve = None
        if score.logit is not None or score.sync_curve is not None:
            self._learn(score)
        else:
            self.reason = score.reason
        return Verdict(
            modality=score.modality,
            track_id=score.track_id,
            time_s=score.end_s,
            state=self._state(last),
            reason=self._reason(),
            p_fake=self.p_fake,
            coverage=min(1.0, self.judged_s / max(score.end_s - self._first_s, 1e-6)),
            threshold=self._policy.threshold,
            offset_ms=None if self.offset_s is None else round(self.offset_s * 1000, 1),
            evidence_s=self.evidence_s,
        )

    def _learn(self, score: Score) -> None:
        span_s = score.end_s - score.start_s
        kept = 0.5 ** (span_s / self._policy.half_life_s)
        logit = score.logit
        if score.sync_curve is not None and self._sync_fusion is not None:
            self._curve = score.sync_curve if self._curve is None else _mean(self._curve, score.sync_curve, self._weight_s * kept, span_s)
            offset_s, confidence = peak(self._curve)
            self.offset_s = offset_s if confidence >= CERTAIN_PEAK else None
            logit = self._sync_fusion.logit({"confidence": confidence, "log_s": math.log(self.evidence_s + span_s)})
            self._weight_s = self._weight_s * kept + span_s
            self._logit_sum = logit * self._weight_s
        elif logit is not None:
            self._weight_s = self._weight_s * kept + span_s
            self._logit_sum = self._logit_sum * kept + logit * span_s
        self.evidence_s += span_s
        self.judged_s += span_s
        self._judged_until_s = score.end_s

    def _state(self, last: bool) -> State:
        p_fake = self.p_fake
        if p_fake is None or not self._policy.is_enough(self.evidence_s):
            return "insufficient"
        if p_fake >= self._policy.threshold and (last or self._policy.is_mature(self.evidence_s)):
            return "fake"
        return "suspicious" if p_fake >= self._policy.suspicious else "genuine"

    def _reason(self) -> Reason | None:
        if self.p_fake is None or not self._policy.is_enough(self.evidence_s):
            return self.reason or "too_short"
        return None


def _mean(old: NDArray[np.float32], new: NDArray[np.float32], old_weight: float, new_weight: float) -> NDArray[np.float32]:
    """Weighted mean of two curves; a lag that only one of them has keeps that one's value."""
    mixed = (old * old_weight + new * new_weight) / (old_weight + new_weight)
    return np.where(np.isnan(old), new, np.where(np.isnan(new), old, mixed)).astype(np.float32)

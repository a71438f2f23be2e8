"""Evidence about one modality of one face or stream, gathered over time. Pure: a Score in, a Verdict out."""

import math
from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from monitor.alerts.bonds import Bonds, Curve, Lips
from monitor.alerts.calibration import ModalityCalibration, sigmoid
from monitor.alerts.changes import Changes, Step, pieces
from monitor.alerts.policy import Policy
from monitor.alerts.stretches import Stretches
from monitor.alerts.sync import LAGS
from monitor.media import Modality, Moment, Reason, Score, State, Verdict

MOMENTS = 200  # half a minute of voice, more of face crops


class Evidence:
    """A sequential test (see `alerts.stretches`) over scores. `min_evidence_s` of them allow a state; the present stretch must have lasted
    `mature_s` to be called fake (see Policy). Of a voice only seconds of speech count, of lips and voice those in which both were
    there: a pause is no evidence, though it is looked at, and neither is what a scene cut leaves of a window.

    For sync, the similarity curves of a stretch are averaged and their mean is judged: one peak that stands out of a long mean is far more
    certain than many that do so by chance. How well each window agrees with the mean so far tells where a stretch begins. No mean mixes
    people: where other lips come in, `cut` begins a new one (see `alerts.bonds`).

    Where `policy.step` is known, a step within the call speaks too (see `alerts.changes`); the stronger of both is told.
    """

    def __init__(self, policy: Policy, sync: ModalityCalibration | None = None) -> None:
        self._policy = policy
        self._bonds = Bonds(sync) if sync is not None else None
        self._changes = Changes(policy.step) if policy.step is not None else None
        self._begin()
        self._first_s: float | None = None
        self.judged_until_s = -math.inf
        self.judged_s = self._covered_s = 0.0  # in seconds of evidence; of media
        self._moments: deque[Moment] = deque(maxlen=MOMENTS)
        self._local: deque[tuple[float, Curve, Lips]] = deque(maxlen=MOMENTS)
        self._reason: Reason | None = None
        self._last: tuple[Modality, int | None, float] | None = None

    def add(self, score: Score, *, last: bool = False, elsewhere_s: float = 0.0) -> Verdict:
        """`last`: no more will come, so what there is must do (a short file). `elsewhere_s`: judged seconds of the stream's other faces."""
        if self._first_s is None:
            self._first_s = score.start_s
        if score.start_s - self.judged_until_s > self._policy.stale_s:
            self._begin()
        if score.logit is not None or score.sync_curve is not None:
            self._learn(score)
        else:
            self._reason = score.reason
        track_id = self._last[1] if self._last is not None and score.track_id is None else score.track_id
        self._last = score.modality, track_id, score.end_s
        return self._verdict(last=last, elsewhere_s=elsewhere_s)

    def cut(self) -> None:
        """The next scores are about other lips beside the same voice: the scene changed, or so did whoever speaks."""
        self._cut = True
        if self._bonds is not None:
            self._bonds.cut()

    @property
    def moments(self) -> Iterable[Moment]:
        """What was said of single instants lately, higher for forged ones; for sync in correlations, at the lag of the lips and voice that
        fitted.
        """
        if self._bonds is None:
            return self._moments
        found = []
        for time_s, curve, lips in self._local:
            at = LAGS // 2 if lips.lag is None else lips.lag
            beside = curve[max(at - 1, 0) : at + 2]
            if not np.isnan(beside).any():
                found.append(Moment(time_s, -float(beside.mean())))
        return found

    @property
    def forged_until_s(self) -> float:
        """Until when what is suspicious now has lasted: all that was judged, or to the end of the step."""
        step = self._louder_step() if len(self._log_odds) else None
        return self.judged_until_s if step is None else step.until_s

    def conclude(self, now_s: float, elsewhere_s: float) -> Verdict | None:
        """The verdict when no more will come; None when there is no fresh evidence. `elsewhere_s`: see `add`."""
        fresh = self._last is not None and now_s - self.judged_until_s <= self._policy.stale_s
        return self._verdict(last=True, elsewhere_s=elsewhere_s) if fresh else None

    def _begin(self) -> None:
        self._step: Step | None = None
        self._stepped_until_s = -math.inf  # where the last step back ended
        self._stretches = Stretches(self._policy.correlation, self._policy.spread, self._policy.stretch_s)
        self._log_odds: NDArray[np.float64] = np.zeros(0)
        self._seen_s = 0.0
        self._cut = False
        if self._bonds is not None:
            self._bonds.forget()

    def _learn(self, score: Score) -> None:
        start_s = max(score.start_s, self.judged_until_s)  # a window of lips may reach back into what was judged
        span_s = max(score.end_s - start_s, 1e-3)
        evidence_s = score.speech_s or span_s
        self._moments.extend(score.moments)
        if self._changes is not None:
            for value, from_s, judged_s in pieces(score.moments, start_s, score.end_s):
                self._step = self._changes.add(value, from_s, judged_s)
        if score.sync_curve is not None and self._bonds is not None:
            self._local.extend((time_s, curve, self._bonds.lips) for time_s, curve in score.sync_local if time_s >= start_s)
            value = self._bonds.add(score.sync_curve, evidence_s)
            self._stretches.add(value, start_s, evidence_s, cut=self._cut)
            self._log_odds, self._cut = self._bonds.judged(self._stretches.shares), False
        elif score.logit is not None:
            self._stretches.add(score.logit, start_s, evidence_s)
            self._log_odds = of_all_forgeries(self._stretches.log_odds_by_start, self._policy.seen_share)
        self._seen_s += evidence_s
        self.judged_s += evidence_s
        self._covered_s += span_s
        self.judged_until_s = score.end_s

    def _verdict(self, *, last: bool, elsewhere_s: float) -> Verdict:
        assert self._last is not None
        modality, track_id, end_s = self._last
        p_fake, since_s, stretch_s = self._present()
        enough = p_fake is not None and self._policy.is_enough(self._seen_s)
        state: State = "insufficient"
        threshold = self._policy.threshold
        if p_fake is not None and enough:
            called_from = self._policy.called_from(stretch_s, self.judged_s + elsewhere_s, last=last)
            threshold = called_from or threshold
            calls = called_from is not None and p_fake >= called_from
            state = "fake" if calls else "suspicious" if p_fake >= self._policy.suspicious else "genuine"
        return Verdict(
            modality=modality,
            track_id=track_id,
            time_s=end_s,
            state=state,
            reason=None if enough else self._reason or "too_short",
            p_fake=p_fake,
            coverage=min(1.0, self._covered_s / max(end_s - (self._first_s or 0.0), 1e-6)),
            threshold=threshold,
            offset_ms=None if self._bonds is None or self._bonds.offset_s is None else round(self._bonds.offset_s * 1000, 1),
            evidence_s=stretch_s,
            since_s=since_s,
        )

    def _present(self) -> tuple[float | None, float | None, float]:
        """p_fake of the present stretch, when it began, and its judged seconds."""
        if not len(self._log_odds):
            return None, None, 0.0
        p_fake = self._level_p()
        if (step := self._louder_step()) is not None:
            self._stepped_until_s = step.until_s
            return sigmoid(step.log_odds), step.since_s, step.seconds
        since_s, stretch_s = self._stretches.start(self._log_odds, forged=p_fake >= self._policy.suspicious)
        return p_fake, since_s if p_fake >= self._policy.suspicious else max(since_s, self._stepped_until_s), stretch_s

    def _level_p(self) -> float:
        return float(self._stretches.shares @ (1.0 / (1.0 + np.exp(-np.clip(self._log_odds, -60, 60)))))

    def _louder_step(self) -> Step | None:
        """The step within the call, where it is suspicious and more so than the level."""
        if self._step is None:
            return None
        p_fake = sigmoid(self._step.log_odds)
        return self._step if p_fake >= self._policy.suspicious and p_fake > self._level_p() else None


def of_all_forgeries(log_odds: NDArray[np.float64], seen_share: float) -> NDArray[np.float64]:
    """From log-odds of a forgery that the models can see to those of any forgery, when the rest of them looks genuine."""
    unseen = math.log1p(-seen_share) if seen_share < 1 else -math.inf
    odds: NDArray[np.float64] = np.logaddexp(unseen, math.log(seen_share) + log_odds)
    return odds

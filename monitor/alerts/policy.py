"""How much evidence it takes to speak up, and how long an incident lasts. Seconds throughout."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from monitor.alerts.calibration import Calibration, ModalityCalibration, StepModel
from monitor.media import MODALITIES, Modality

TOLERANCE_S = 1e-6  # spans are added up
EVEN = 0.5  # "genuine" never stands beside a p_fake of this or more


@dataclass(frozen=True, slots=True)
class Policy:
    """One modality's rules.

    `threshold`: p_fake from which it is called fake; `suspicious`: below it is called genuine. `correlation`, `spread`, `stretch_s`: what
    the sequential test takes for granted (see `alerts.stretches`). `seen_share`: of forgeries, how many the models can see; the others
    look genuine, so genuine looks alone never bring p_fake below (1 − share) / (2 − share). `step`: see `alerts.changes`.
    Evidence is counted in judged seconds, that of a voice in seconds of speech, of sync in such beside seen lips. `min_evidence_s`: less of
    it than this is `too_short`.
    `mature_s`: a stretch of a running stream may be called fake from this age on, the last stretch of a file from `shortest_s` on. What has
    not even that much in all when the recording ends is one look and no more: it is called fake from `short_threshold` on, which has a
    budget of its own (a share of recordings, not incidents an hour).
    `stale_s`: without new evidence for this long, the verdict is withdrawn.
    `hold_s`: an incident closes when p_fake stayed below `suspicious` this long; `cooldown_s`: after that, no new one opens for this
    long. `update_every_s`: an open incident reports again.
    """

    threshold: float
    suspicious: float = EVEN
    correlation: float = 0.5
    spread: float = 2.5
    seen_share: float = 1.0
    short_threshold: float | None = None
    step: StepModel | None = None
    stretch_s: float = 60.0
    min_evidence_s: float = 1.0
    mature_s: float = 2.4
    shortest_s: float = 1.0
    stale_s: float = 6.0
    hold_s: float = 2.4
    cooldown_s: float = 3.0
    update_every_s: float = 5.0

    def is_enough(self, evidence_s: float) -> bool:
        return evidence_s >= self.min_evidence_s - TOLERANCE_S

    def is_mature(self, evidence_s: float, *, last: bool = False) -> bool:
        return evidence_s >= (min(self.shortest_s, self.mature_s) if last else self.mature_s) - TOLERANCE_S

    def called_from(self, stretch_s: float, judged_s: float, *, last: bool) -> float | None:
        """The p_fake from which a stretch of this age is called fake, after `judged_s` of all faces; None while it is too young."""
        if self.is_mature(stretch_s, last=last):
            return self.threshold
        return self.short_threshold if last and judged_s < min(self.shortest_s, self.mature_s) else None


@dataclass(frozen=True, slots=True)
class Policies:
    """The rules of all three modalities, and how sync turns a similarity curve into log-odds."""

    audio: Policy
    video: Policy
    sync: Policy
    sync_calibration: ModalityCalibration

    def of(self, modality: Modality) -> Policy:
        return {"audio": self.audio, "video": self.video, "sync": self.sync}[modality]

    @classmethod
    def from_calibration(cls, calibration: Calibration, overrides: Mapping[Modality, Mapping[str, Any]] | None = None) -> "Policies":
        """The calibrated thresholds, changed by `overrides` (modality → Policy field → value; None keeps the default)."""
        policies = {}
        for modality in MODALITIES:
            policy = default_policy(modality, calibration.of(modality))
            changes = {name: value for name, value in (overrides or {}).get(modality, {}).items() if value is not None}
            threshold = changes.get("threshold", policy.threshold)
            policies[modality] = replace(policy, **{"suspicious": min(policy.suspicious, threshold), **changes})
        return cls(**policies, sync_calibration=calibration.sync)


def default_policy(modality: Modality, calibration: ModalityCalibration) -> Policy:
    policy = Policy(
        calibration.threshold,
        min(calibration.suspicious, EVEN),
        calibration.correlation,
        calibration.spread,
        seen_share=calibration.seen_share,
        short_threshold=calibration.short_threshold,
        step=calibration.step,
    )
    if modality == "audio":  # as much speech as a window needs to be judged at all; little speech weighs little as it is
        return replace(policy, min_evidence_s=0.6, shortest_s=0.6)
    if modality == "sync":  # one window of lips says little, so gather two; of somebody who talks in full view one holds 1.8 s and more
        return replace(policy, mature_s=3.6, shortest_s=2.7, hold_s=4.8, min_evidence_s=1.35)
    return policy

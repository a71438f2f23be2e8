"""From what models say to calibrated log-odds, and the thresholds that go with it: `exported_models/calibration.json`."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor.errors import ModelError
from monitor.media import Modality


class Logistic(BaseModel):
    """log-odds = bias + Σ weight × feature."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    weights: dict[str, float]
    bias: float

    def logit(self, features: Mapping[str, float]) -> float:
        return self.bias + sum(weight * features[name] for name, weight in self.weights.items())


class Condition(BaseModel):
    """How far a measured quality lets the models' log-odds be trusted. Bounded: beyond `centre` ± `reach` nothing more changes.

    log-odds become log-odds × (1 + trust × u) with u = (quality − centre) / reach, held within ±1. A quality never speaks for or against
    a forgery by itself: small, soft or noisy is not forged, although in any collection of clips one or the other happens to be.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    centre: float
    reach: float = Field(gt=0)
    trust: float = Field(ge=0, le=1)

    def place(self, quality: float) -> float:
        return max(-1.0, min(1.0, (quality - self.centre) / self.reach))


class StepModel(BaseModel):
    """What a step in one person's scores means (see `alerts.changes`), in one model's own log-odds, uncalibrated.

    `level`, `people`: mean and standard deviation of genuine people. `noise`: standard deviation from one 1.2 s to the next; `drift`, of
    one person from recording to recording. `rise`, `rise_spread`: how much higher a forgery stands. `another`: share of genuine steps to
    a level that has nothing to do with the one before. `cost`: taken from the log-odds, so that the modality's threshold fits them too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    level: float
    people: float = Field(gt=0)
    noise: float = Field(gt=0)
    drift: float = Field(ge=0)
    rise: float
    rise_spread: float = Field(gt=0)
    another: float = Field(gt=0, lt=1)
    cost: float


class ModalityCalibration(BaseModel):
    """How one modality is judged.

    `fusions`: tried in order; the first one whose features are all there is used (a call without sound has no `lips`, say).
    `conditions`: by quality. `seen_from`: the poorest quality of each kind that calibration saw; poorer windows are not judged.
    `gain`, `offset`: what makes it the log-odds of 1.2 s of a forgery that the models can see at all, against genuine. `seen_share`: of
    forgeries, how many they can see. `correlation`, `spread`: of these log-odds, see `alerts.stretches`.
    `threshold`: p_fake from which it is called fake; `suspicious`: from which it is worth a second look. `short_threshold`: see `Policy`.
    `step`: None where steps within a call are not judged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    fusions: tuple[Logistic, ...] = Field(min_length=1)
    conditions: dict[str, Condition] = {}
    seen_from: dict[str, float] = {}
    gain: float = Field(default=1.0, gt=0)
    offset: float = 0.0
    seen_share: float = Field(default=1.0, gt=0, le=1)
    threshold: float = Field(gt=0, lt=1)
    suspicious: float = Field(gt=0, lt=1)
    short_threshold: float | None = Field(default=None, gt=0, lt=1)
    correlation: float = Field(default=0.5, ge=0, lt=1)
    spread: float = Field(default=2.5, gt=0)
    step: StepModel | None = None

    def logit(self, features: Mapping[str, float]) -> float | None:
        """Log-odds of "forged" for 1.2 s, from model outputs and qualities by name; None when no fusion has all it needs."""
        for fusion in self.fusions:
            if fusion.weights.keys() <= features.keys():
                return self.gain * self._conditioned(fusion.logit(features), features) + self.offset
        return None

    def poorer_than_seen(self, features: Mapping[str, float]) -> Iterator[str]:
        return (name for name, lowest in self.seen_from.items() if features.get(name, lowest) < lowest)

    def _conditioned(self, logit: float, features: Mapping[str, float]) -> float:
        known = [(each, each.place(features[name])) for name, each in self.conditions.items() if name in features]
        trust = 1.0 + sum(each.trust * place for each, place in known)
        return logit * max(0.0, trust)


class Calibration(BaseModel):
    """All modalities, with what it was fitted on and what it gave."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    audio: ModalityCalibration
    video: ModalityCalibration
    sync: ModalityCalibration
    models_sha256: dict[str, str] = Field(description="the models this was fitted for, name → sha256")
    fitted_on: str
    made_with: str
    numbers: dict[str, Any]

    def of(self, modality: Modality) -> ModalityCalibration:
        return {"audio": self.audio, "video": self.video, "sync": self.sync}[modality]


def read_calibration(path: Path) -> Calibration:
    """Raises ModelError when the file is missing or not a calibration."""
    try:
        return Calibration.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise ModelError(
            f"{path} is missing; models cannot be used without their calibration (python -m export.calibrate writes it)"
        ) from None
    except (ValidationError, UnicodeDecodeError) as error:
        raise ModelError(f"calibration {path} cannot be read: {str(error).splitlines()[-1].strip()}; restore it") from None


def sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, logit))))


def log_odds(probability: float) -> float:
    return math.log(probability / (1.0 - probability))

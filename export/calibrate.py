"""Fuse and calibrate the shipped models on clips that none of them was trained on, and set thresholds from a false-alarm budget.

    python -m export.calibrate [--pool DIR] [--models exported_models] [--budget 0.01]

Writes MODELS/calibration.json. Takes about ten minutes of one core. Every clip goes through monitor's own pipeline.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from export.data.held_out import HeldClip, held_faces, held_talk, held_voices
from export.data.pool import pool_folder
from export.evidence import ClipEvidence, Dub, file_source, load_models, look_at_all
from export.training import auc
from monitor.alerts.calibration import Calibration, Logistic, ModalityCalibration, sigmoid
from monitor.inference.engine import JUDGES
from monitor.inference.session import Model

# The lip–voice net's own video label is left out: it and the face net hold out different clips of `wild`, and only 12 genuine ones are new
# to both, too few to weigh one against the other (and alone it is near chance on its fold, see its card).
FUSIONS: dict[str, list[tuple[str, ...]]] = {"audio": [("voice", "av_audio"), ("voice",)], "video": [("face",)]}
TAIL_DEVIATIONS = 3.0  # of genuine log-odds; 0.13 % of a normal distribution lie above
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.6, 0.95
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """Features of one clip by name, and whether it is forged."""

    features: dict[str, float]
    fake: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--models", type=Path, default=Path("exported_models"))
    parser.add_argument("--budget", type=float, default=0.01, help="share of genuine held-out clips that may lie above the threshold")
    options = parser.parse_args()
    pool, models = pool_folder(options.pool), load_models(options.models)
    found = {
        "audio": _labelled(held_voices(pool), models, "held-out voices"),
        "video": _labelled(held_faces(pool), models, "held-out faces"),
        "sync": _sync_labelled(held_talk(pool), models),
    }
    fitted = {name: _fit_modality(name, clips, options.budget) for name, clips in found.items()}
    calibration = Calibration(
        **{name: modality for name, (modality, _) in fitted.items()},
        models_sha256={name: models[name].info.sha256 for name in JUDGES},
        fitted_on=(
            "clips of the pool held out from training, by generator, person and source page: "
            + ", ".join(
                f"{name}: {sum(not c.fake for c in clips)} genuine and {sum(c.fake for c in clips)} forged" for name, clips in found.items()
            )
        ),
        made_with=f"python -m export.calibrate --budget {options.budget}",
        numbers={name: numbers for name, (_, numbers) in fitted.items()},
    )
    (options.models / "calibration.json").write_text(calibration.model_dump_json(indent=1) + "\n")
    for name, (modality, numbers) in fitted.items():
        print(name, f"threshold {modality.threshold}", numbers)


def _labelled(clips: Sequence[HeldClip], models: dict[str, Model], what: str) -> list[Labelled]:
    evidence = look_at_all([file_source(clip.path) for clip in clips], models, what)
    return [Labelled(seen.features, clip.fake) for clip, seen in zip(clips, evidence, strict=True) if seen is not None]


def _sync_labelled(talk: Sequence[HeldClip], models: dict[str, Model]) -> list[Labelled]:
    """Genuine talk as it is, and each of it with the voice of another person: dubs."""
    rng = random.Random(11)
    dubs = [Dub(clip.path, rng.choice([other for other in talk if other.person != clip.person]).path) for clip in talk]
    genuine = look_at_all([file_source(clip.path) for clip in talk], models, "held-out talk")
    dubbed = look_at_all(dubs, models, "dubs of it")
    rows = [(seen, False) for seen in genuine] + [(seen, True) for seen in dubbed]
    return [Labelled(features, fake) for seen, fake in rows if (features := _sync_features(seen)) is not None]


def _sync_features(seen: ClipEvidence | None) -> dict[str, float] | None:
    return None if seen is None else seen.sync_features


def _fit_modality(name: str, clips: list[Labelled], budget: float) -> tuple[ModalityCalibration, dict[str, Any]]:
    wanted: list[tuple[str, ...]] = [("confidence", "log_s")] if name == "sync" else FUSIONS[name]
    fusions = tuple(_fit(clips, names, positive=name != "sync") for names in wanted)
    scored = [(fusion.logit(clip.features), clip.fake) for clip in clips if (fusion := _first_fit(fusions, clip)) is not None]
    genuine = np.array([sigmoid(logit) for logit, fake in scored if not fake])
    forged = np.array([sigmoid(logit) for logit, fake in scored if fake])
    # A hundred clips cannot show one false alarm in a thousand: the tail is taken as normal where that asks for more than the clips show.
    log_odds = np.array([logit for logit, fake in scored if not fake])
    tail = sigmoid(float(log_odds.mean() + TAIL_DEVIATIONS * log_odds.std()))
    threshold = round(float(np.clip(max(np.quantile(genuine, 1 - budget), tail), LOWEST_THRESHOLD, HIGHEST_THRESHOLD)), 3)
    suspicious = round(float(np.clip(np.quantile(genuine, 1 - 5 * budget), 0.5, threshold)), 3)
    numbers = {
        "genuine": len(genuine),
        "forged": len(forged),
        "auc": round(auc(genuine, forged), 4),
        "genuine_above_threshold": round(float((genuine >= threshold).mean()), 4),
        "forged_above_threshold": round(float((forged >= threshold).mean()), 4),
        "ece": round(_calibration_error(genuine, forged), 4),
        "note": "fitted and counted on the same held-out clips",
    }
    return ModalityCalibration(fusions=fusions, threshold=threshold, suspicious=suspicious), numbers


def _first_fit(fusions: tuple[Logistic, ...], clip: Labelled) -> Logistic | None:
    return next((fusion for fusion in fusions if fusion.weights.keys() <= clip.features.keys()), None)


def _fit(clips: list[Labelled], names: tuple[str, ...], *, positive: bool) -> Logistic:
    """Logistic regression with both classes weighing the same; weights of model logits are not allowed below zero (`positive`)."""
    usable = [clip for clip in clips if set(names) <= clip.features.keys()]
    x = np.array([[clip.features[name] for name in names] for clip in usable])
    y = np.array([clip.fake for clip in usable], np.float64)
    centre, spread = x.mean(0), x.std(0) + 1e-6
    z = (x - centre) / spread
    weight = np.where(y == 1, 0.5 / max(y.mean(), 1e-6), 0.5 / max(1 - y.mean(), 1e-6))

    def loss(parameters: Floats) -> float:
        logits = z @ parameters[:-1] + parameters[-1]
        return float((weight * (np.logaddexp(0, logits) - y * logits)).mean() + 1e-3 * (parameters[:-1] ** 2).sum())

    bounds = [(0.0 if positive else None, None)] * len(names) + [(None, None)]
    best = minimize(loss, np.append(np.full(len(names), 0.5 if positive else 0.0), 0.0), bounds=bounds).x
    weights = best[:-1] / spread
    return Logistic(
        weights={name: round(float(each), 5) for name, each in zip(names, weights, strict=True)},
        bias=round(float(best[-1] - (weights * centre).sum()), 5),
    )


def _calibration_error(genuine: Floats, forged: Floats, bins: int = 10) -> float:
    """Expected calibration error, both classes weighing the same (Naeini et al. 2015, equal-width bins)."""
    p = np.concatenate([genuine, forged])
    y = np.concatenate([np.zeros(len(genuine)), np.ones(len(forged))])
    w = np.concatenate([np.full(len(genuine), 0.5 / len(genuine)), np.full(len(forged), 0.5 / len(forged))])
    index = np.minimum((p * bins).astype(int), bins - 1)
    return float(sum(abs((w[index == b] * (p[index == b] - y[index == b])).sum()) for b in range(bins)))


if __name__ == "__main__":
    main()

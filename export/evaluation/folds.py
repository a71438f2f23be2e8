"""A real cross-validation over all of `wild` that costs a minute: frozen features of the shipped backbone and a linear head.

It does not measure the shipped net (retraining that k times would take a day). It measures how far the task can be learned on these folds
by something that no training of ours has touched: MobileNetV2's weights are ImageNet's. What the shipped net adds is the difference
between its own held-out fold and this one.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from export.data.faces import MARGIN_PX, FaceCache, weights_file
from export.data.folds import wild_folds
from export.data.pool import Row, read_table
from export.evaluation.judging import progress_bar
from export.evaluation.metrics import Scores, auc, interval, matched
from export.nets.face import Backbone, residue, standardise

BATCH = 32
CROPS = 2  # of the six of each clip
RIDGE = 1000.0  # a thousand features, as many clips
LOOKS = ("n_sharp", "n_luma", "n_contrast", "n_satur", "n_motion")
Told = dict[str, Any]
Floats = NDArray[np.float32]


@torch.no_grad()
def frozen_features(cache: FaceCache, pool: Path) -> dict[str, Floats]:
    """By clip of `wild`: mean, deviation and maximum of each channel of the backbone, mean over crops."""
    backbone = Backbone().eval()
    backbone.load_keras(weights_file(pool, "mobilenetv2_035_imagenet.npz"))
    by_clip: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(cache.rows):
        if row.pool == "wild":
            by_clip[row.clip].append(index)
    rows = [index for indices in by_clip.values() for index in indices[:: max(1, len(indices) // CROPS)][:CROPS]]
    parts = []
    with progress_bar() as bar:
        task = bar.add_task("frozen features", total=len(rows))
        for at in range(0, len(rows), BATCH):
            wide = np.stack([cache.crops[i] for i in rows[at : at + BATCH]])
            faces = wide[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].transpose(0, 3, 1, 2).astype(np.float32)
            colour = standardise(torch.from_numpy(np.ascontiguousarray(faces)))
            parts.append(torch.cat([_statistics(each) for each in (*backbone(colour), residue(colour))], dim=1).numpy())
            bar.advance(task, len(wide))
    features = np.concatenate(parts)
    gathered: dict[str, list[Floats]] = defaultdict(list)
    for index, feature in zip(rows, features, strict=True):
        gathered[cache.rows[index].clip].append(feature)
    return {clip: np.mean(each, axis=0) for clip, each in gathered.items()}


def _statistics(features: torch.Tensor) -> torch.Tensor:
    flat = features.flatten(2)
    return torch.cat([flat.mean(2), flat.std(2), flat.amax(2)], dim=1)


def cross_validation(pool: Path, cache: FaceCache) -> Told:
    """Every clip of `wild` judged by a head that saw neither its people, page and generator; then not its family either."""
    rows = [row for row in read_table(pool / "data" / "wild") if row["label_video"] in ("real", "fake")]
    features = frozen_features(cache, pool)
    folds = [([r for r in train if r["file"] in features], [r for r in held if r["file"] in features]) for train, held in wild_folds(rows)]
    families = sorted({row["family"] for row in rows} - {""})
    judged = [(held, _scores(train, held, features)) for train, held in folds]
    without = {family: [(held, _scores(train, held, features, family)) for train, held in folds] for family in families}
    return {
        "clips": sum(len(held) for _, held in folds),
        "folds": [_numbers(held, p) | {"held": len(held)} for held, p in judged],
        "all": _numbers(*_joined(judged)),
        "families": {family: _numbers(*_joined(judged), family) for family in families},
        "left_out": {family: _numbers(*_joined(without[family]), family) for family in families},
    }


def _scores(train: Sequence[Row], held: Sequence[Row], features: dict[str, Floats], left_out: str = "") -> NDArray[np.float64]:
    """Of the held clips, 0..1, not calibrated."""
    used = [row for row in train if not left_out or row["family"] != left_out]
    head: Pipeline = make_pipeline(StandardScaler(), RidgeClassifier(alpha=RIDGE, class_weight="balanced"))
    head.fit(np.stack([features[row["file"]] for row in used]), [row["label_video"] == "fake" for row in used])
    logits = head.decision_function(np.stack([features[row["file"]] for row in held]))
    return np.asarray(1 / (1 + np.exp(-logits)), np.float64)


def _joined(parts: Sequence[tuple[Sequence[Row], NDArray[np.float64]]]) -> tuple[list[Row], NDArray[np.float64]]:
    return [row for held, _ in parts for row in held], np.concatenate([p for _, p in parts])


def _numbers(rows: Sequence[Row], p: NDArray[np.float64], family: str = "") -> Told:
    """AUC with its interval by person, and matched, over all genuine clips and the forged ones (of one family)."""
    kept = [k for k, row in enumerate(rows) if row["label_video"] == "real" or not family or row["family"] == family]
    chosen = [rows[k] for k in kept]
    scores = Scores.of(
        p[kept].tolist(),
        [row["label_video"] == "fake" for row in chosen],
        [row["group"] or row["file"] for row in chosen],
        [[float(row[name] or "nan") for name in LOOKS] for row in chosen],
    )
    same, twins = matched(scores)
    return {
        "auc": [auc(scores), *interval(scores, auc, draws=200)],
        "matched_auc": same,
        "forged_with_twin": twins,
        "forged": int(scores.forged.sum()),
    }

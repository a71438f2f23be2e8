"""Fit the mouth's texture over time: one direction in closed form, no gradient, a few minutes with the mouths in the cache.

    python -m export.train_mouth [--pool DIR] [--out exported_models]

Judges the same fit on all four folds of unseen people, pages and generators, then writes mouth_texture.onnx of the first fold, whose clips
calibration uses, and its card.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.command_line import Arguments, command
from export.data.mouth_clips import MouthClip, MouthFold, face_row, mouth_clips, mouth_folds, originals
from export.data.pool import pool_folder, read_table
from export.data.talk import split_talk
from export.face_report import Clip, fold_auc, leanings
from export.fisher import Weights, discriminant
from export.nets.mouth import MouthTexture
from export.to_onnx import MODELS, Port, export_model
from monitor.inference.session import Model

COUNTS = Weights(ridge=0.2, wear=1.0, unlike=3.0)
MADE_WITH = "python -m export.train_mouth; closed form, about five minutes on one CPU thread, nearly all of it to cut the mouths"
ABOUT = {
    "version": "0.2.0",
    "trained_on": "Forged clips of wild (public demo pages) beside the originals they were made from, against genuine clips of wild and of "
    "the training speakers of talk (phones, webcams); three quarters of wild, the rest held out by person, page, pair and generator.",
    "limits": "Lip-syncs and face swaps above all; talking heads and re-animation little above chance. Needs 23 pictures a second or more: "
    "of slower, frozen or repeated pictures, and of lips that do not move, nothing is said. Sees 64-px gray mouths, 0.8 s at least. "
    "The logit is not calibrated.",
    "licence": "Research use only: fitted on material with narrow rights (demo pages, broadcast, phones).",
}


@command
def main() -> None:
    parser = Arguments(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--out", type=Path, default=MODELS, help="where mouth_texture.onnx and .json go")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pool = pool_folder(options.pool)
    clips = mouth_clips(pool, Model(MODELS / "face_detector.onnx"))
    wild, talk = (read_table(pool / "data" / folder) for folder in ("wild", "talk"))
    folds = mouth_folds(clips, wild, split_talk(talk)[0])
    nets = [fitted(fold) for fold in folds]
    held = [fold_auc(described(net, fold.held)) for net, fold in zip(nets, folds, strict=True)]
    devset = described(nets[0], [clip for clip in clips if clip.folder == "devset"])
    numbers = {
        "folds": mean_of(held) | {"what": "mean of four fits, each judged on the quarter of wild that it did not see"},
        "held_out_wild": held[0]
        | {"what": "the shipped fit on its held quarter of wild: other people, pages, generators; one number a clip"},
        "devset": fold_auc(devset) | {"what": "clips of devset, never fitted or chosen on; matched counts"},
        "score_against_looks_of_genuine": {
            "held_out_wild": leanings(described(nets[0], folds[0].held)),
            "what": "rank correlation, 0 is best",
        },
    }
    rng = np.random.default_rng(0)
    examples = [[_mouths(rng, batch, steps)] for batch, steps in ((2, 60), (5, 23))]
    card = export_model(
        nets[0],
        "mouth_texture",
        [Port("mouths", ("batch", "steps", 64, 64), "gray 0..255 of monitor.faces.crop.mouth_crop, 25 a second, at least 20")],
        [Port("logit", ("batch",), "positive = forged; mean 0 and deviation 1 over genuine clips, not calibrated")],
        examples,
        ABOUT | {"made_with": MADE_WITH, "numbers": numbers},
        options.out,
    )
    print(card.model_dump_json(indent=1))


def fitted(fold: MouthFold) -> MouthTexture:
    weight, bias = discriminant(fold.material(), COUNTS)
    net = MouthTexture()
    with torch.no_grad():
        net.read_out.weight.copy_(torch.from_numpy(weight)[None])
        net.read_out.bias.fill_(bias)
    return net.eval()


def described(net: MouthTexture, clips: Sequence[MouthClip]) -> list[Clip]:
    """Scores of clips for `export.face_report`."""
    beside = originals(clips)
    with torch.no_grad():
        scores = net.read_out(torch.from_numpy(np.array([clip.numbers for clip in clips], np.float32)))[:, 0].tolist()
    made_from = [beside[clip.row["pair"]].row["file"] if clip.fake and clip.row.get("pair") in beside else "" for clip in clips]
    return [Clip(face_row(clip), score, original) for clip, score, original in zip(clips, scores, made_from, strict=True)]


def mean_of(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over folds, and the matched AUC of each."""
    means = {name: round(float(np.mean([each[name] for each in found])), 3) for name in ("plain", "matched", "above_own_original")}
    of_families = {word: _means([each[word] for each in found]) for word in ("families", "families_matched")}
    return {**means, "matched_by_fold": [fold["matched"] for fold in found], **of_families}


def _means(folds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each name, over the folds that have it."""
    names = sorted({name for fold in folds for name in fold})
    return {name: round(float(np.mean([fold[name] for fold in folds if name in fold])), 3) for name in names}


def _mouths(rng: np.random.Generator, batch: int, steps: int) -> "np.ndarray[Any, Any]":
    """Smooth pictures that change smoothly, with some grain."""
    small = torch.from_numpy(rng.uniform(40, 200, (1, batch, max(3, steps // 6), 8, 8)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(small, size=(steps, 64, 64), mode="trilinear")[0].numpy()
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.float32)


if __name__ == "__main__":
    main()

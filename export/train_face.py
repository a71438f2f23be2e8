"""Train, judge and export the face-forgery localiser: python -m export.train_face [--minutes 35] [--pool DIR] [--out DIR] [--fresh].

`--without erasing|edges|calls` leaves an idea out, to see what it is worth.

Reads the pool (wild, stills, faces, talk, a little of avspeech; devset only to judge), one thread. Resumes an unfinished run by itself.
"""

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from export.data.face_autoencoder import train_and_keep, weights_path
from export.data.face_couples import AS_IN_A_CALL, Couples
from export.data.face_fold import fold_of, not_trained_on
from export.data.faces import FaceCache, open_cache, weights_file
from export.data.pool import cache_folder, pool_folder
from export.face_discriminants import put_in_discriminants
from export.face_objective import erase, loss_of
from export.face_report import clip_scores, export_best, fold_auc, some_of_each_clip
from export.nets.face import FaceNet
from export.to_onnx import MODELS
from export.training import Average, Budget, Run, backward, learning_rate, prepare

COUPLES = 16
PEAK_RATE = 2e-3
JUDGE_EVERY_S = 60.0
IDEAS = ("erasing", "edges", "calls")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=35, help="training time, over all resumed runs together")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ and weights/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--out", type=Path, default=MODELS, help="where face_forgery.onnx and .json go")
    parser.add_argument("--start-from", type=Path, help="a checkpoint whose weights a fresh run begins with")
    parser.add_argument("--without", choices=IDEAS, action="append", default=[], help="leave an idea out; may be given again")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--run", default="face", help="name of the run, for a second one beside it")
    parser.add_argument("--fresh", action="store_true", help="forget an unfinished run")
    parser.add_argument("--export-only", action="store_true", help="judge and export the best state so far")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pool = pool_folder(options.pool)
    checkpoint = cache_folder("runs") / f"{options.run}.pt"
    if options.fresh:
        checkpoint.unlink(missing_ok=True)
    cache = open_cache(pool)
    if not options.export_only:
        train(cache, pool, checkpoint, options)
    torch.set_num_threads(1)
    export_best(cache, pool, checkpoint, options.out)


def train(cache: FaceCache, pool: Path, checkpoint: Path, options: argparse.Namespace) -> None:
    """Until the time is over; the averaged net that does best on the held-out fold (see `merit`) is the one kept."""
    rng = prepare(options.seed)
    net = FaceNet(edges="edges" not in options.without)
    net.backbone.load_keras(weights_file(pool, "mobilenetv2_035_imagenet.npz"))
    if options.start_from:
        net.load_state_dict(torch.load(options.start_from, weights_only=False)["parts"]["average"], strict=False)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
    average = Average(net)
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=PEAK_RATE, weight_decay=0.05)
    run = Run({"net": net, "average": average.net, "optimiser": optimiser}, checkpoint)
    if run.step:
        rng = np.random.default_rng([options.seed, run.step])
    fold = fold_of(cache.rows, *not_trained_on(pool))
    if not net.from_appearance.weight.any():
        put_in_discriminants(net, cache, fold.train, options.seed)
        average.net.load_state_dict(net.state_dict())
    if not weights_path().is_file():
        print("training the workshop's autoencoder (4 minutes, once)", flush=True)
        train_and_keep(cache, pool)
    calls = 0.0 if "calls" in options.without else AS_IN_A_CALL
    batches = Couples(cache, fold.train, rng, calls).batches(COUPLES)
    held = some_of_each_clip(cache, fold.held)
    budget = Budget(options.minutes, run.spent_s, run.step)
    recent, judged_s, erased = 1.0, budget.spent_s, None
    for step in budget:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(budget.share, PEAK_RATE)
        net.train()
        batch = next(batches)
        loss, map_logits = loss_of(net, batch, erased)
        erased = None if "erasing" in options.without else erase(batch, map_logits)
        optimiser.zero_grad()
        backward(loss)
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        average.update(net)
        recent += 0.02 * (loss.item() - recent)
        if budget.spent_s - judged_s > JUDGE_EVERY_S:
            judged_s = budget.spent_s
            judge(run, budget, average.net, cache, held, f"{2 * COUPLES * step} crops, loss {recent:.3f}")
    judge(run, budget, average.net, cache, held, "end")


def judge(run: Run, budget: Budget, net: nn.Module, cache: FaceCache, held: list[int], progress: str) -> None:
    found = fold_auc(clip_scores(net, cache, held))
    families = " ".join(f"{name} {value:.2f}" for name, value in found["families"].items())
    shown = f"matched {found['matched']:.3f} plain {found['plain']:.3f} above own original {found['above_own_original']} ({families})"
    run.keep(budget, merit(found), f"{progress}; held out: {shown}")


def merit(found: dict[str, Any]) -> float:
    """What chooses the state to keep: matched AUC counts half, the mean over the families and the pairs a quarter each."""
    families = found["families"].values()
    return float(0.5 * found["matched"] + 0.25 * sum(families) / max(1, len(families)) + 0.25 * (found["above_own_original"] or 0.5))


if __name__ == "__main__":
    main()

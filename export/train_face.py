"""Train, judge and export the face-forgery localiser: python -m export.train_face [--minutes 35] [--pool DIR] [--out DIR] [--fresh].

Reads the pool (wild, stills, faces, talk, a little of avspeech; devset only to judge) and uses one thread, or with `--pack FILE` what
`export.pack` wrote, without the pool and its caches. On a GPU, if there is one, batches are larger and drawn by the other cores. Resumes an
unfinished run by itself. `--without erasing|edges|calls` leaves an idea out, to see what it is worth.
"""

import argparse
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn

from export.command_line import Arguments, command
from export.data.face_couples import AS_IN_A_CALL
from export.data.faces import FaceCache, open_cache
from export.data.pool import cache_folder, pool_folder
from export.face_discriminants import put_in_discriminants
from export.face_material import DrawnCouples, Material, batches_of, device_of, material_of_pack, material_of_pool, spare_cores
from export.face_objective import erase, loss_of
from export.face_report import clip_scores, export_best, fold_auc, some_of_each_clip
from export.nets.face import FaceNet
from export.to_onnx import MODELS
from export.training import Average, Budget, Run, backward, fast_on_cpu, learning_rate, prepare
from monitor.errors import ConfigError

COUPLES, COUPLES_ON_GPU = 16, 64
PEAK_RATE = 2e-3
JUDGE_EVERY_S = 60.0
IDEAS = ("erasing", "edges", "calls")


@command
def main() -> None:
    options = parse()
    if options.start_from and not options.start_from.is_file():
        raise ConfigError(f"{options.start_from} is missing; --start-from takes the checkpoint of an earlier run")
    cv2.setNumThreads(1)
    checkpoint = cache_folder("runs") / f"{options.run}.pt"
    if options.fresh:
        checkpoint.unlink(missing_ok=True)
    if not options.export_only:
        material = material_of_pack(options.pack) if options.pack else material_of_pool(options.pool)
        train(material, checkpoint, options)
    if options.pack:
        print(f"kept in {checkpoint}; where the pool is, --export-only --run {options.run} judges and exports it")
        return
    torch.set_num_threads(1)
    pool = pool_folder(options.pool)
    export_best(open_cache(pool), pool, checkpoint, options.out)


def parse() -> argparse.Namespace:
    parser = Arguments(description=__doc__)
    parser.add_argument("--minutes", type=float, default=35, help="training time, over all resumed runs together")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ and weights/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--pack", type=Path, help="train from this packed set alone; nothing is exported")
    parser.add_argument("--out", type=Path, default=MODELS, help="where face_forgery.onnx and .json go")
    parser.add_argument("--start-from", type=Path, help="a checkpoint whose weights a fresh run begins with")
    parser.add_argument("--without", choices=IDEAS, action="append", default=[], help="leave an idea out; may be given again")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--couples", type=int, help=f"per batch (default {COUPLES}, on a GPU {COUPLES_ON_GPU})")
    parser.add_argument("--workers", type=int, help="processes that draw couples (default: none, on a GPU one for each other core)")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--run", default="face", help="name of the run, for a second one beside it")
    parser.add_argument("--fresh", action="store_true", help="forget an unfinished run")
    parser.add_argument("--export-only", action="store_true", help="judge and export the best state so far")
    return parser.parse_args()


def train(material: Material, checkpoint: Path, options: argparse.Namespace) -> None:
    """Until the time is over; the averaged net that does best on the held-out fold (see `merit`) is the one kept."""
    prepare(options.seed)
    device = device_of(options.device)
    net = fresh_net(material, options).to(device)
    average = Average(net)
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=PEAK_RATE, weight_decay=0.05)
    run = Run({"net": net, "average": average.net, "optimiser": optimiser}, checkpoint)
    if not net.from_appearance.weight.any():
        put_in_discriminants(net.cpu(), material.cache, material.fold.train, options.seed)
        average.net.load_state_dict(net.to(device).state_dict())
    on_gpu = device.type == "cuda"
    count = options.couples or (COUPLES_ON_GPU if on_gpu else COUPLES)
    calls = 0.0 if "calls" in options.without else AS_IN_A_CALL
    workers = options.workers if options.workers is not None else spare_cores() if on_gpu else 0
    batches = batches_of(DrawnCouples(material, [options.seed, run.step], count, calls), workers)
    held = some_of_each_clip(material.cache, material.fold.held)
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
            judge(run, budget, average.net, material.cache, held, f"{2 * count * step} crops, loss {recent:.3f}")
    judge(run, budget, average.net, material.cache, held, "end")


def fresh_net(material: Material, options: argparse.Namespace) -> FaceNet:
    net = FaceNet(edges="edges" not in options.without)
    net.backbone.load_keras(material.backbone)
    if options.start_from:
        kept = torch.load(options.start_from, map_location="cpu", weights_only=False)["parts"]["average"]
        net.load_state_dict(kept, strict=False)
    return fast_on_cpu(net)


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

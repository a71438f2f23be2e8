"""Fine-tune the face net on forged stills beside their originals: python -m export.train_stills --start-from RUN.pt [--minutes 20].

Unlike `export.train_face` it tunes MobileNetV2 too, which ImageNet alone taught little about blends. Couples of `stills` (DFDC, inswapper)
and some of `wild` train; source clips never trained on judge. What comes out is no model of the product: it ranks swapped stills, and
`wild` no better than the closed forms do (docs/decisions.md). The checkpoint holds the averaged weights of the end.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.data.face_couples import Batch, Couples, Mixture
from export.data.pool import cache_folder
from export.face_material import Material, material_of_pool
from export.face_objective import label_loss, map_loss
from export.face_report import clip_scores, fold_auc, some_of_each_clip
from export.nets.face import FaceNet, standardise
from export.training import Average, Budget, backward, fast_on_cpu, learning_rate, prepare

COUPLES = 16
PEAK_RATE, BACKBONE_RATE = 1e-3, 3e-4
MIXTURE = Mixture(kinds={"still": 0.8, "pair": 0.2}, covered=0.0, stood_still=0.5, soft_originals=0.1)
JUDGE_EVERY_S = 150.0
NOT_SWAPPED = "StyleGAN"  # has no original to stand beside


class Tuned(nn.Module):
    """The part of a face net that is trained by gradient, reading a backbone of its own: inputs and outputs as of `FaceNet`."""

    def __init__(self, net: FaceNet) -> None:
        super().__init__()
        self.net = net
        self.net.backbone.requires_grad_(True)

    def forward(self, face: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor]:
        colour = standardise(face)
        return self.net.learned(face, earlier, colour, self.net.backbone(colour))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start-from", type=Path, required=True, help="a run of export.train_face whose trunk to begin with")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--pool", type=Path, help="folder that holds data/ and weights/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--run", default="stills", help="name of the checkpoint in the cache's folder runs")
    options = parser.parse_args()
    material = material_of_pool(options.pool)
    state = torch.load(options.start_from, map_location="cpu", weights_only=False)["best_net"]
    prepare(options.seed)
    net = FaceNet.like(state)
    net.load_state_dict(state)
    net.backbone.load_keras(material.backbone)
    average = train(Tuned(fast_on_cpu(net)), material, options)
    wild = some_of_each_clip(material.cache, material.fold.held)
    numbers = {"held_out_stills": judged(average, material, material.fold.held_stills), "held_out_wild": judged(average, material, wild)}
    print(numbers, flush=True)
    torch.save({"best_net": average.net.net.state_dict(), "numbers": numbers}, cache_folder("runs") / f"{options.run}.pt")


def train(net: Tuned, material: Material, options: argparse.Namespace) -> Average[Tuned]:
    rows = material.cache.rows
    chosen = [i for i in material.fold.train if rows[i].generator != NOT_SWAPPED]
    batches = Couples(material.cache, chosen, np.random.default_rng(options.seed + 4), calls=0.0, mixture=MIXTURE).batches(COUPLES)
    average, optimiser, budget, judged_s = Average(net), optimiser_of(net), Budget(options.minutes), 0.0
    for step in budget:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(budget.share, group["peak"])
        loss = loss_of_batch(net.train(), next(batches))
        optimiser.zero_grad()
        backward(loss)
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        average.update(net)
        if budget.spent_s - judged_s > JUDGE_EVERY_S:
            judged_s = budget.spent_s
            print(f"{judged_s:.0f} s, {step + 1} steps, held stills {judged(average, material, material.fold.held_stills)}", flush=True)
    return average


def optimiser_of(net: Tuned) -> torch.optim.Optimizer:
    """What ImageNet taught changes slowly, the trunk faster; the closed forms not at all."""
    backbone = list(net.net.backbone.parameters())
    known = {id(each) for each in backbone}
    trunk = [each for each in net.parameters() if each.requires_grad and id(each) not in known]
    return torch.optim.AdamW(
        [
            {"params": backbone, "peak": BACKBONE_RATE, "weight_decay": 0.02},
            {"params": trunk, "peak": PEAK_RATE, "weight_decay": 0.05},
        ],
        lr=PEAK_RATE,
    )


def loss_of_batch(net: Tuned, batch: Batch) -> Tensor:
    """The label, a fake above its own original, and where it was changed."""
    faces, earlier = (torch.from_numpy(each).float().contiguous(memory_format=torch.channels_last) for each in (batch.faces, batch.earlier))
    labels, maps, known = (torch.from_numpy(each) for each in (batch.labels, batch.maps, batch.map_known))
    with torch.autocast("cpu", torch.bfloat16):
        logit, map_logits = net(faces, earlier)
    return label_loss(logit.float(), labels) + map_loss(map_logits.float(), maps, known)


def judged(average: Average[Tuned], material: Material, rows: list[int]) -> dict[str, Any]:
    return fold_auc(clip_scores(average.net, material.cache, rows))


if __name__ == "__main__":
    main()

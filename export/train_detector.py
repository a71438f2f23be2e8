"""Train, judge and export the face detector: python -m export.train_detector [--minutes 25] [--pool DIR] [--out DIR] [--evaluate].

A small net learns from YuNet (weights/yunet_n_dynamic.onnx in the pool), cell by cell, on scenes that `export.data.scenes` composes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.command_line import Arguments, command
from export.data.faceless import faceless, load_wallpapers
from export.data.pool import cache_folder, pool_folder
from export.data.scenes import SCENE_PX, SceneStore, make_store, teacher_maps, worn
from export.nets.detector import DetectorNet
from export.onnx_files import detector_run
from export.report_detector import TEACHER_CONFIDENCE, Frames, agreement, devset_frames, export_best, print_report
from export.to_onnx import MODELS
from export.training import Average, Budget, Run, learning_rate, prepare
from monitor.faces.detect import STRIDES, Floats
from monitor.faces.detect import Run as RunNet

BATCH = 16
PEAK_RATE = 3e-3
HELD_SCENES = 200
JUDGE_EVERY_S = 200.0
SEARCH_EVERY = 100  # steps between two searches for pictures that fool the net
SEARCHED = 96
HARD_SHARE = 2  # of a batch, once there are enough


@command
def main() -> None:
    parser = Arguments(description=__doc__)
    parser.add_argument("--minutes", type=float, default=25, help="training time, over all resumed runs together")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ and weights/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--out", type=Path, default=MODELS, help="folder for face_detector.onnx and its card")
    parser.add_argument("--scenes", type=int, default=9000, help="scenes to compose, 0.4 MB each, kept in the cache folder")
    parser.add_argument("--fresh", action="store_true", help="forget an unfinished run")
    parser.add_argument("--export-only", action="store_true", help="judge and export the best state so far")
    parser.add_argument("--evaluate", action="store_true", help="only measure the model in --out, and YuNet beside it")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pool = pool_folder(options.pool)
    teacher = detector_run(pool / "weights" / "yunet_n_dynamic.onnx")
    if options.evaluate:
        print_report(detector_run(options.out / "face_detector.onnx"), teacher, pool)
        return
    checkpoint = cache_folder("runs") / "detector.pt"
    if options.fresh:
        checkpoint.unlink(missing_ok=True)
    if not options.export_only:
        store = make_store(pool, teacher, cache_folder("scenes"), options.scenes)
        train(store, devset_frames(pool, teacher, per_clip=1), teacher, checkpoint, options.minutes)
    export_best(checkpoint, teacher, pool, options.out)


def train(store: SceneStore, frames: Frames, teacher: RunNet, checkpoint: Path, minutes: float) -> None:
    rng = prepare(seed=1)
    net = DetectorNet()
    average = Average(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    run = Run({"net": net, "average": average.net, "optimiser": optimiser}, checkpoint)
    if run.step:
        rng = np.random.default_rng([1, run.step])
    budget = Budget(minutes, run.spent_s, run.step)
    loss_now, judged_s, progress = np.zeros(3), budget.spent_s, ""
    batches, hard = draw(store, rng), HardNegatives(teacher, rng)
    for step in budget:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(budget.share, PEAK_RATE)
        if step % SEARCH_EVERY == SEARCH_EVERY - 1 and budget.share > 0.08:
            hard.search(average.net)
        pictures, wanted = next(batches)
        hard.mix_into(pictures, wanted)
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            cells = net(pictures)
        parts = losses(cells.float(), wanted)
        optimiser.zero_grad()
        parts.sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        average.update(net)
        loss_now += 0.03 * (parts.detach().numpy() - loss_now)
        if budget.spent_s - judged_s > JUDGE_EVERY_S:
            judged_s = budget.spent_s
            progress = f"{step * BATCH} scenes, {len(hard.pictures)} hard, loss score {loss_now[0]:.3f} box {loss_now[1]:.3f}"
            progress += f" landmarks {loss_now[2]:.3f}"
            judge(average.net, frames, run, budget, progress)
    judge(average.net, frames, run, budget, progress)


class HardNegatives:
    """Pictures without faces in which the net, unlike its teacher, thought that it saw one; the newest 600."""

    def __init__(self, teacher: RunNet, rng: np.random.Generator) -> None:
        self._teacher, self._rng = teacher, rng
        self._wallpapers = load_wallpapers()
        self.pictures: list[NDArray[np.uint8]] = []
        self.maps: list[NDArray[np.float16]] = []

    @torch.no_grad()
    def search(self, net: nn.Module) -> None:
        pictures = np.stack([worn(faceless(self._wallpapers, SCENE_PX, self._rng), self._rng) for _ in range(SEARCHED)])
        for start in range(0, SEARCHED, BATCH):
            bgr = np.array(pictures[start : start + BATCH, :, :, ::-1].transpose(0, 3, 1, 2), np.float32, order="C")
            with torch.autocast("cpu", torch.bfloat16):
                scores = net.eval()(torch.from_numpy(bgr))[:, :, 0].float().sigmoid().numpy()
            for offset in np.flatnonzero(scores.max(1) > 0.3):
                maps = teacher_maps(self._teacher, pictures[start + offset])
                if (scores[offset] - maps[:, 0]).max() > 0.25:
                    self.pictures.append(pictures[start + offset])
                    self.maps.append(maps)
        del self.pictures[:-600], self.maps[:-600]

    def mix_into(self, pictures: Tensor, wanted: Tensor) -> None:
        """Put a few of them in the place of a batch's first pictures."""
        if len(self.pictures) < 20:
            return
        for place, chosen in enumerate(self._rng.integers(0, len(self.pictures), HARD_SHARE)):
            pictures[place] = torch.from_numpy(np.array(self.pictures[chosen][:, :, ::-1].transpose(2, 0, 1), np.float32))
            wanted[place] = torch.from_numpy(self.maps[chosen].astype(np.float32))


def judge(net: nn.Module, frames: Frames, run: Run, budget: Budget, progress: str) -> None:
    """Held-back score: recall minus a tenth of the false faces per frame minus the landmark error (a share of the eye distance)."""
    seen = agreement(torch_run(net), frames)
    score = seen.recall - 0.1 * seen.false_faces / max(seen.frames, 1) - min(seen.landmark_error, 0.5)
    told = f"recall {seen.recall:.4f} false {seen.false_faces} of {seen.frames} frames, landmarks off {seen.landmark_error:.4f}"
    run.keep(budget, score, f"{progress}, {told}")


def torch_run(net: nn.Module) -> RunNet:
    """The torch net behind the same door as the exported one."""

    @torch.no_grad()
    def run(picture: Floats) -> Mapping[str, Floats]:
        cells = net.eval()(torch.from_numpy(picture)).numpy()
        counts = [(picture.shape[2] // stride) * (picture.shape[3] // stride) for stride in STRIDES]
        outputs: dict[str, Floats] = {}
        for stride, level in zip(STRIDES, np.split(cells, np.cumsum(counts)[:-1], axis=1), strict=True):
            score = 1 / (1 + np.exp(-level[:, :, :1]))
            outputs |= {
                f"cls_{stride}": score,
                f"obj_{stride}": score,
                f"bbox_{stride}": level[:, :, 1:5],
                f"kps_{stride}": level[:, :, 5:],
            }
        return outputs

    return run


def draw(store: SceneStore, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches: pictures [16, 3, 320, 320] BGR 0..255 and the teacher's maps [16, 2100, 15]; half mirrored, colours shifted."""
    usable = len(store.scenes) - HELD_SCENES
    while True:
        order = rng.permutation(usable)
        for start in range(0, usable - BATCH + 1, BATCH):
            chosen = np.sort(order[start : start + BATCH])
            pictures = np.array(store.scenes[chosen][:, :, :, ::-1].transpose(0, 3, 1, 2), order="C")
            maps = store.maps[chosen].astype(np.float32)
            mirrored = rng.random(BATCH) < 0.5
            pictures[mirrored] = pictures[mirrored][:, :, :, ::-1]
            maps[mirrored] = mirror(maps[mirrored])
            gain, lift = rng.normal(1, 0.1, (BATCH, 3, 1, 1)), rng.normal(0, 8, (BATCH, 1, 1, 1))
            light = torch.from_numpy(pictures).float().mul_(torch.from_numpy(gain).float()).add_(torch.from_numpy(lift).float())
            yield light.clamp_(0, 255), torch.from_numpy(maps)


def mirror(maps: Floats) -> Floats:
    """Maps of the mirrored scenes: cells change sides, x is measured from the other corner, left and right landmarks change names."""
    parts, start = [], 0
    for stride in STRIDES:
        side = SCENE_PX // stride
        level = maps[:, start : start + side * side].reshape(-1, side, side, 15)[:, :, ::-1].copy()
        level[..., 1] = 1 - level[..., 1]
        level[..., 5::2] = 1 - level[..., 5::2]
        level[..., 5:] = level[..., [7, 8, 5, 6, 9, 10, 13, 14, 11, 12]]
        parts.append(level.reshape(len(maps), side * side, 15))
        start += side * side
    return np.concatenate(parts, axis=1)


def losses(cells: Tensor, wanted: Tensor) -> Tensor:
    """[3]: score (quality focal loss, Li et al. 2020); box (1 − IoU and log size) and landmarks (in box sides) where a face is."""
    target = wanted[:, :, 0].clamp(0, 1)
    surprise = (cells[:, :, 0].sigmoid() - target).abs().square()
    entropy = nn.functional.binary_cross_entropy_with_logits(cells[:, :, 0], target, reduction="none")
    score = (surprise * entropy).sum() / target.sum().clamp(min=1)
    faces = target > TEACHER_CONFIDENCE / 2
    weight = target[faces] ** 2
    mine, theirs = cells[faces], wanted[faces]
    side = theirs[:, 3:5].mean(1, keepdim=True).exp()
    landmarks = nn.functional.smooth_l1_loss(mine[:, 5:] / side, theirs[:, 5:] / side, beta=0.02, reduction="none").mean(1)
    size = nn.functional.smooth_l1_loss(mine[:, 3:5], theirs[:, 3:5], beta=0.1, reduction="none").mean(1)
    box = 1 - overlap(mine[:, 1:5], theirs[:, 1:5]) + size
    total = weight.sum().clamp(min=1)
    return torch.stack([2 * score, (weight * box).sum() / total, 20 * (weight * landmarks).sum() / total])


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes [n, 4] given as centre and log size in the same cells."""
    half_a, half_b = a[:, 2:].clamp(max=5).exp() / 2, b[:, 2:].clamp(max=5).exp() / 2
    inner = (torch.minimum(a[:, :2] + half_a, b[:, :2] + half_b) - torch.maximum(a[:, :2] - half_a, b[:, :2] - half_b)).clamp(min=0).prod(1)
    return inner / (4 * half_a.prod(1) + 4 * half_b.prod(1) - inner).clamp(min=1e-6)


if __name__ == "__main__":
    main()

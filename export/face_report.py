"""What the face net is worth on faces it did not see, and its model file with the card that says so."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from export.data.face_fold import fold_of, not_trained_on
from export.data.faces import MARGIN_PX, NUISANCES, FaceCache, FaceRow
from export.evaluation.maps import REDRAWN, map_numbers
from export.nets.face import FaceNet
from export.to_onnx import Port, export_model
from export.training import auc, best_of, matched_auc

BATCH = 32
LIMITS = (
    "Sees 128-px aligned faces and the picture before, no sound and no longer time. Ranks forgeries of unseen generators better than "
    "chance where genuine and forged clips look alike, not reliably; see the families for where it is weak. The logit is not calibrated. "
    "The faces are mostly demo pages, broadcast and webcams; darker skin, children, strong profile and covered faces are few and were not "
    "measured apart."
)
LICENCE = (
    "Research use only: trained on material with narrow rights (research sets, broadcast, demo pages). Contains MobileNetV2 weights "
    "(width 0.35, ImageNet) as published with Keras, Apache-2.0."
)
TRAINED_ON = (
    "Workshop pool: wild (forged faces of about 100 generators from public demo pages with genuine counterparts; a quarter held out by "
    "person, page and generator), stills (DFDC swaps with originals, StyleGAN/FFHQ, inswapper; one source clip in eight held out), "
    "genuine talk of three quarters of its speakers, faces, a little avspeech; forgeries of genuine faces made on the spot "
    "(export.data.face_workshop). devset was only judged."
)


@dataclass(frozen=True)
class Clip:
    """One clip's mean logit over its crops, the row that describes it, and the clip that it was made from ("" when not known)."""

    row: FaceRow
    score: float
    original: str = ""


@torch.no_grad()
def judge_rows(net: nn.Module, cache: FaceCache, rows: Sequence[int]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Logits [n] and map logits [n, 16, 16] of cached crops, cut without jitter."""
    net.eval()
    device = next(net.parameters()).device
    logits, maps = [], []
    for start in range(0, len(rows), BATCH):
        wide = np.stack([cache.shot(i) for i in rows[start : start + BATCH]])
        shots = wide[:, :, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].transpose(1, 0, 4, 2, 3).astype(np.float32)
        logit, cells = net(*(torch.from_numpy(each).to(device).contiguous(memory_format=torch.channels_last) for each in shots))
        logits.append(logit.cpu().numpy())
        maps.append(cells.cpu().numpy())
    return np.concatenate(logits), np.concatenate(maps)


def some_of_each_clip(cache: FaceCache, rows: Sequence[int], crops: int = 2) -> list[int]:
    """`crops` rows of each clip, evenly over it: enough to follow a training run."""
    by_clip: dict[str, list[int]] = defaultdict(list)
    for index in rows:
        by_clip[cache.rows[index].clip].append(index)
    return [each[int((k + 0.5) / crops * len(each))] for each in by_clip.values() for k in range(min(crops, len(each)))]


def clip_scores(net: nn.Module, cache: FaceCache, rows: Sequence[int]) -> list[Clip]:
    by_clip: dict[str, list[float]] = defaultdict(list)
    first: dict[str, FaceRow] = {}
    for index, logit in zip(rows, judge_rows(net, cache, rows)[0], strict=True):
        row = cache.rows[index]
        first.setdefault(row.clip, row)
        by_clip[row.clip].append(float(logit))
    originals = {name: cache.rows[row.origin].clip if row.origin >= 0 else "" for name, row in first.items()}
    return [Clip(first[name], float(np.mean(logits)), originals[name]) for name, logits in by_clip.items()]


def fold_auc(clips: Sequence[Clip]) -> dict[str, Any]:
    """Plain; matched; share of fakes above the original they were made from; per family (against all genuine clips, plain and matched) and
    per generator of at least five clips."""
    genuine, forged = [c for c in clips if not c.row.fake], [c for c in clips if c.row.fake]
    real = [c.score for c in genuine]
    measured = "nuisances" if any(c.row.nuisances for c in clips) else "look"  # pictures have only a look

    def matched(some: Sequence[Clip]) -> tuple[float, int]:
        sides = [[c for c in side if getattr(c.row, measured)] for side in (genuine, some)]
        looks = [[getattr(c.row, measured) for c in side] for side in sides]
        return matched_auc([c.score for c in sides[0]], [c.score for c in sides[1]], looks[0], looks[1])

    def by(word: str, least: int) -> dict[str, list[Clip]]:
        groups: dict[str, list[Clip]] = defaultdict(list)
        for c in forged:
            groups[getattr(c.row, word)].append(c)
        return {name: some for name, some in sorted(groups.items()) if name and len(some) >= least}

    def plain(groups: dict[str, list[Clip]]) -> dict[str, float]:
        return {name: round(auc(real, [c.score for c in some]), 3) for name, some in groups.items()}

    score_of = {c.row.clip: c.score for c in genuine}
    pairs = [c.score > score_of[c.original] for c in forged if c.original in score_of]
    alike, twins = matched(forged)
    families = by("family", 1)
    return {
        "plain": round(auc(real, [c.score for c in forged]), 3),
        "matched": round(alike, 3),
        "matched_fakes": twins,
        "above_own_original": round(float(np.mean(pairs)), 3) if pairs else None,
        "pairs": len(pairs),
        "genuine": len(genuine),
        "forged": len(forged),
        "families": plain(families),
        "families_matched": {name: round(value, 3) for name, some in families.items() for value, found in [matched(some)] if found},
        "generators": plain(by("generator", 5)),
    }


def cell_numbers(net: nn.Module, cache: FaceCache, rows: Sequence[int]) -> dict[str, Any]:
    """How well the map's cells tell changed from untouched ones in fakes with a known original: of those that keep most of the picture, and
    by family. What was drawn anew whole (REDRAWN) differs from its original where it failed, not where it is forged."""
    paired = [i for i in rows if cache.rows[i].fake and cache.rows[i].masked]
    if not paired:
        return {}
    kinds = [cache.rows[i].family or cache.rows[i].generator for i in paired]
    map_logits, cells = judge_rows(net, cache, paired)[1], cache.cells(paired)

    def of(wanted: Collection[str]) -> dict[str, float]:
        places = [place for place, kind in enumerate(kinds) if kind in wanted]
        return {name: round(value, 3) for name, value in map_numbers(map_logits[places], cells[places]).items()}

    return of({*kinds} - REDRAWN) | {"families": {kind: of([kind]) for kind in sorted({*kinds})}}


def leanings(clips: Sequence[Clip]) -> dict[str, float]:
    """Rank correlation of the score with each nuisance over genuine clips: what it reacts to without a forgery."""
    genuine = [c for c in clips if not c.row.fake and c.row.nuisances]
    ranks = np.argsort(np.argsort([c.score for c in genuine]))
    columns = np.array([c.row.nuisances for c in genuine], np.float64)
    return {name: round(float(np.corrcoef(ranks, np.argsort(np.argsort(columns[:, k])))[0, 1]), 2) for k, name in enumerate(NUISANCES)}


def numbers_of(net: nn.Module, cache: FaceCache, pool: Path) -> dict[str, Any]:
    fold = fold_of(cache.rows, *not_trained_on(pool))
    talk = [c.score for c in clip_scores(net, cache, fold.held_talk)]
    devset = [i for i, row in enumerate(cache.rows) if row.pool == "devset"]
    held, dev, stills = (clip_scores(net, cache, rows) for rows in (fold.held, devset, fold.held_stills))
    return {
        "held_out_wild": fold_auc(held)
        | {"what": "clip AUC (mean of 6 crops), wild clips of other people, pages, generators; the state kept was chosen here"},
        "devset": fold_auc(dev)
        | {"what": "clip AUC (mean of 10 crops) on devset, never trained or chosen on; plain is flattered by looks, matched counts"},
        "held_out_stills": fold_auc(stills)
        | {"what": "pictures of source clips never trained on, of generators that were (DFDC swaps, StyleGAN, inswapper)"},
        "held_out_talk": {"clips": len(talk), "quantiles_5_50_95": [round(float(q), 2) for q in np.quantile(talk, (0.05, 0.5, 0.95))]}
        | {"what": "logits of genuine talk (phones, webcams, studio) of people never trained on"},
        "map_cells": cell_numbers(net, cache, fold.held)
        | {
            "what": "changed against untouched 16x16 cells of held-out fakes with their own original; the numbers before families without "
            "re-animations, whose picture is drawn anew whole, so that its difference to the original is no truth"
        },
        "map_cells_stills": cell_numbers(net, cache, fold.held_stills) | {"what": "the same of DFDC swaps and inswapper, by source clip"},
        "score_against_looks_of_genuine": {"held_out_wild": leanings(held), "devset": leanings(dev), "what": "rank correlation, 0 is best"},
    }


def export_best(cache: FaceCache, pool: Path, checkpoint: Path, out: Path) -> None:
    """Write the model and its card from the best state of the run, and print the numbers."""
    net = FaceNet.like(torch.load(checkpoint, map_location="cpu", weights_only=False)["best_net"])
    record = best_of(checkpoint, net)
    numbers = numbers_of(net, cache, pool)
    net.lighten()
    rng = np.random.default_rng(0)
    examples = [[_pictures(rng, batch), _pictures(rng, batch)] for batch in (2, 5)]
    made_with = (
        f"python -m export.train_face; {record['best_s'] / 60:.0f} of {record['spent_s'] / 60:.0f} minutes on one CPU thread, "
        f"batches of 32, {record['step']} steps in all; kept: the averaged weights that did best on the held-out fold "
        "(half matched AUC, a quarter each the mean over families and fakes above their own original)"
    )
    card = export_model(
        net,
        "face_forgery",
        [
            Port("face", ("batch", 3, 128, 128), "RGB 0..255 of monitor.faces.crop.face_crop; standardised inside"),
            Port("earlier", ("batch", 3, 128, 128), "the same place 30 to 80 ms earlier; `face` again where there is no such picture"),
        ],
        [
            Port("logit", ("batch",), "positive = forged; not calibrated"),
            Port("map_logits", ("batch", 16, 16), "where: positive = changed"),
        ],
        examples,
        {"version": "0.2.0", "trained_on": TRAINED_ON, "made_with": made_with, "numbers": numbers, "limits": LIMITS, "licence": LICENCE},
        out,
    )
    print(card.model_dump_json(indent=1), flush=True)


def _pictures(rng: np.random.Generator, batch: int) -> np.ndarray[Any, Any]:
    """Smooth random pictures 0..255: closer to faces than noise, so that parity is measured where it matters."""
    small = torch.from_numpy(rng.uniform(0, 255, (batch, 3, 12, 12)).astype(np.float32))
    smooth = nn.functional.interpolate(small, size=(128, 128), mode="bilinear").numpy()
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.float32)

"""How well the face net's maps show what was changed: aligned pairs of the pool, and calls whose masks are known.

Beside them stands the same map for every face: the mean mask. Forgeries lie in the middle, so a map has to beat that to say anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.faces import MARGIN_PX, FaceCache
from export.evaluation.judging import Product, progress_bar
from export.evaluation.metrics import NAN, Scores, auc
from export.evaluation.sources import collect, file_source, pictures_of
from export.onnx_files import open_onnx
from monitor.faces.crop import face_crop
from monitor.media import VideoFrame

BATCH = 32
CHANGED, UNTOUCHED = 0.5, 0.05  # share of a cell; what lies between is the mask's edge and counts as neither
LEAST_CELLS = 4
CALL_PICTURES = 8
LEVELS = np.linspace(0.02, 0.99, 49)
REDRAWN = frozenset({"re-animation by video", "talking head"})
"""Families whose picture is drawn anew whole: its difference to the original is where it failed, not where it is forged, and no truth."""
Told = dict[str, Any]
Maps = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """What maps of other people say: the logit `cut` with the best IoU there, the mean mask there [16, 16], and the cut of that."""

    cut: float
    constant: Maps
    constant_cut: float

    @classmethod
    def of(cls, maps: Maps, masks: Maps) -> "Reference":
        constant = masks.mean(0)
        same = np.broadcast_to(constant, masks.shape)
        return cls(_best_level(maps, masks), constant, _best_level(same, masks))

    def numbers(self, maps: Maps, masks: Maps) -> Told:
        """`map_numbers` with the IoU at the cut, and the same of the constant map."""
        same = np.broadcast_to(self.constant, masks.shape)
        return map_numbers(maps, masks, self.cut) | {"constant": map_numbers(same, masks, self.constant_cut)}


def _best_level(maps: Maps, masks: Maps) -> float:
    levels = np.quantile(maps, LEVELS)
    return float(levels[int(np.argmax([map_numbers(maps, masks, float(level))["iou"] for level in levels]))])


def map_numbers(maps: Maps, masks: Maps, cut: float = 0.0) -> Told:
    """`maps` logits [n, 16, 16], `masks` [n, 16, 16] 0..1. Pixel AUC per crop (mean) and over all cells; IoU above `cut` (mean)."""
    each, overlaps = [], []
    for cells, mask in zip(maps, masks, strict=True):
        changed, untouched = mask > CHANGED, mask < UNTOUCHED
        if changed.sum() < LEAST_CELLS or untouched.sum() < LEAST_CELLS:
            continue
        known = changed | untouched
        each.append(auc(_cells(cells[known], changed[known])))
        overlaps.append(_iou((cells > cut) & known, changed))
    changed, known = masks > CHANGED, (masks > CHANGED) | (masks < UNTOUCHED)
    return {
        "pixel_auc": float(np.mean(each)) if each else NAN,
        "pixel_auc_all_cells": auc(_cells(maps[known], changed[known])) if known.any() else NAN,
        "iou": float(np.mean(overlaps)) if overlaps else NAN,
        "crops": len(each),
    }


def _iou(said: NDArray[np.bool_], changed: NDArray[np.bool_]) -> float:
    return float((said & changed).sum() / (said | changed).sum())


def _cells(values: Maps, changed: NDArray[np.bool_]) -> Scores:
    return Scores(values.astype(np.float64), changed, np.zeros(len(values), np.str_))


def map_logits(model: Path, shots: NDArray[np.uint8]) -> Maps:
    """The shipped file's maps [n, 16, 16] of crops and the same place a frame earlier [n, 2, 128, 128, 3]."""
    session = open_onnx(model)
    names = {port.name for port in session.get_inputs()}
    parts = []
    for at in range(0, len(shots), BATCH):
        face, earlier = np.ascontiguousarray(shots[at : at + BATCH].transpose(1, 0, 4, 2, 3), dtype=np.float32)
        inputs = {name: value for name, value in (("face", face), ("earlier", earlier)) if name in names}
        parts.append(session.run(["map_logits"], inputs)[0])
    return np.concatenate(parts) if parts else np.zeros((0, 16, 16), np.float32)


def aligned_pairs(model: Path, cache: FaceCache, held_clips: set[str], most: int) -> tuple[Told, Reference | None]:
    """Fakes of held-out clips of `wild` against the difference to their own original. Each half of the people is cut, and compared with a
    constant map, as the other half has it; the Reference is that of all.
    """
    rows = [
        i
        for i, row in enumerate(cache.rows)
        if row.pool == "wild" and row.clip in held_clips and row.fake and row.masked and row.family not in REDRAWN
    ]
    rows = [rows[k] for k in np.random.default_rng(5).permutation(len(rows))[:most]]
    people = sorted({cache.rows[i].group for i in rows})
    if len(people) < 2:
        return {"crops": 0}, None
    shots = np.stack([cache.shot(i) for i in rows])[:, :, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    maps, masks = map_logits(model, shots), cache.cells(rows)
    first = np.array([people.index(cache.rows[i].group) % 2 == 0 for i in rows])
    halves = [Reference.of(maps[~half], masks[~half]).numbers(maps[half], masks[half]) for half in (first, ~first)]
    return _mean(halves), Reference.of(maps, masks)


def _mean(parts: Sequence[Told]) -> Told:
    """Of the numbers of several sets of crops, weighed by their crops."""
    total = sum(part["crops"] for part in parts)
    told: Told = {"crops": total}
    for key, value in parts[0].items():
        if isinstance(value, dict):
            told[key] = _mean([part[key] for part in parts])
        elif key != "crops":
            told[key] = sum(part[key] * part["crops"] for part in parts if part["crops"]) / total if total else NAN
    return told


def made_calls(product: Product, model: Path, calls: Sequence[Any], reference: Reference | None) -> Told:
    """Pictures of made calls (see `export.data.made_calls`): the mask goes through the same crop as the face. `reference`: of the pairs."""
    shots, masks = [], []
    with progress_bar() as bar:
        task = bar.add_task("maps of made calls", total=len(calls))
        for call in calls:
            for before, frame, mask in _masked_pictures(product, call):
                found = max(product.engine.detect(frame.rgb), key=lambda each: each.confidence, default=None)
                if found is None:
                    continue
                shots.append(np.stack([face_crop(picture.rgb, found.landmarks_xy) for picture in (frame, before)]))
                size = frame.rgb.shape[1], frame.rgb.shape[0]
                whole = cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)
                cut = face_crop(np.repeat(whole[..., None], 3, axis=2), found.landmarks_xy)[..., 0]
                masks.append(cut.astype(np.float32).reshape(16, 8, 16, 8).mean((1, 3)) / 255)
            bar.advance(task)
    if not shots:
        return {"crops": 0}
    maps, truth = map_logits(model, np.stack(shots)), np.stack(masks)
    return map_numbers(maps, truth) if reference is None else reference.numbers(maps, truth)


def _masked_pictures(product: Product, call: Any) -> list[tuple[VideoFrame, VideoFrame, NDArray[np.uint8]]]:
    """Up to CALL_PICTURES pictures of a call spread over its masked seconds, each with the one before and its mask."""
    found = call.load_masks()
    if found is None:
        return []
    first, masks = found
    wanted = {first + int(k) for k in np.linspace(0, len(masks) - 1, CALL_PICTURES)}
    items = product.wait_for(collect(file_source(call.path), VideoFrame, call.duration_s + 1))
    pictures = pictures_of(items)
    return [(pictures[max(0, at - 1)], picture, masks[at - first]) for at, picture in enumerate(pictures) if at in wanted]

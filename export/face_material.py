"""What the face net trains on: the cache of the whole pool with its fold, or a packed set alone; and batches drawn beside the training."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from export.data.face_autoencoder import train_and_keep, weights_path
from export.data.face_couples import Batch, Couples
from export.data.face_fold import Fold, fold_of, not_trained_on
from export.data.faces import FaceCache, open_cache, weights_file
from export.data.pool import PoolError, pool_folder
from export.pack import AUTOENCODER, BACKBONE, open_pack


@dataclass(frozen=True)
class Material:
    """`backbone`: the frozen weights (.npz), a file or its content."""

    cache: FaceCache
    fold: Fold
    backbone: Path | BinaryIO


def material_of_pool(folder: Path | None) -> Material:
    """Reads or builds the cache of faces; trains the workshop's autoencoder where it is missing."""
    pool = pool_folder(folder)
    cache = open_cache(pool)
    if not weights_path().is_file():
        print("training the workshop's autoencoder (4 minutes, once)", flush=True)
        train_and_keep(cache, pool)
    return Material(cache, fold_of(cache.rows, *not_trained_on(pool)), weights_file(pool, BACKBONE))


def material_of_pack(path: Path) -> Material:
    """Decodes the faces of a packed set (`export.pack`); its autoencoder becomes the workshop's where there is none. Raises PoolError."""
    pack = open_pack(path)
    if missing := {BACKBONE, AUTOENCODER} - pack.files.keys():
        raise PoolError(f"{path} lacks {', '.join(sorted(missing))}; python -m export.pack --renew faces --out {path} puts it in")
    if not weights_path().is_file():
        weights_path().write_bytes(pack.files[AUTOENCODER])
    return Material(pack.faces.decoded(), pack.faces.fold(), io.BytesIO(pack.files[BACKBONE]))


class DrawnCouples(IterableDataset[Batch]):
    """Endless batches; each worker process draws others."""

    def __init__(self, material: Material, seed: list[int], couples: int, calls: float) -> None:
        self._material, self._seed, self._couples, self._calls = material, seed, couples, calls

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(1)
        worker = get_worker_info()
        rng = np.random.default_rng([*self._seed, 0 if worker is None else 1 + worker.id])
        return Couples(self._material.cache, self._material.fold.train, rng, self._calls).batches(self._couples)


def batches_of(couples: DrawnCouples, workers: int) -> Iterator[Batch]:
    """Drawn in this process (`workers` 0) or ahead of time in as many others."""
    context = "fork" if workers else None  # the crops in memory are shared, not copied
    return iter(DataLoader(couples, batch_size=None, num_workers=workers, collate_fn=_as_it_is, multiprocessing_context=context))


def _as_it_is(batch: Any) -> Any:
    return batch


def device_of(name: str) -> torch.device:
    """ "auto": a GPU where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def spare_cores() -> int:
    return max(1, (os.cpu_count() or 2) - 1)

"""Where the training pool lies, how its tables and sound are read, and how rows are held out. None of it is ever committed."""

import csv
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from monitor.errors import MonitorError
from monitor.media import AUDIO_RATE_HZ

REPOSITORY = Path(__file__).resolve().parents[2]
Row = dict[str, str]
Floats = NDArray[np.float32]


class PoolError(MonitorError):
    """The pool, what was made of it, or a program that adds to it, is missing."""


def pool_folder(chosen: Path | None = None) -> Path:
    """The folder that holds `data/`: `chosen`, else $DEEPFAKE_POOL, else ../shared beside the repository. Raises PoolError if absent."""
    folder = chosen or Path(os.environ.get("DEEPFAKE_POOL") or REPOSITORY.parent / "shared")
    if not (folder / "data").is_dir():
        raise PoolError(f"no training pool in {folder}; pass --pool or set DEEPFAKE_POOL to the folder that holds data/")
    return folder


def cache_folder(name: str) -> Path:
    """An existing folder for what can be recomputed: $DEEPFAKE_CACHE/name, else cache/name in the repository (ignored by git)."""
    folder = Path(os.environ.get("DEEPFAKE_CACHE") or REPOSITORY / "cache") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_table(folder: Path) -> list[Row]:
    """The rows of the one CSV (clips.csv, images.csv or labels.csv) in `folder`, sorted by file."""
    for name in ("clips.csv", "images.csv", "labels.csv"):
        if (folder / name).is_file():
            with (folder / name).open(newline="") as table:
                return sorted(csv.DictReader(table), key=lambda row: row["file"])
    raise PoolError(f"{folder} has no clips.csv, images.csv or labels.csv; is it a folder of the pool?")


def hold_out(rows: Sequence[Row], held: Collection[str], by: str, disjoint: Iterable[str]) -> tuple[list[Row], list[Row]]:
    """(train, held): held has the rows whose `by` is in `held`; train the others that share none of the `disjoint` columns with held.

    A row that is not held but shares, say, its generator with a held one is in neither. Empty cells ("unknown") are never shared.
    """
    kept = [row for row in rows if row[by] in held]
    columns = [by, *disjoint]
    seen = {column: {row[column] for row in kept if row[column]} for column in columns}
    train = [row for row in rows if all(row[column] not in seen[column] for column in columns)]
    return train, kept


def even_shares(names: Sequence[str]) -> NDArray[np.float64]:
    """Chances that lie between one for each clip and one for each name: a clip of a name with n clips weighs 1/√n."""
    counts = Counter(names)
    weights = np.array([counts[name] ** -0.5 for name in names])
    share: NDArray[np.float64] = weights / weights.sum()
    return share


def read_sound(path: Path) -> Floats:
    """Mono float32 sound at 16 kHz of the first audio track; empty when there is none."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros(0, np.float32)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE_HZ)
        parts: list[Floats] = []
        for frame in container.decode(audio=0):
            parts.extend(piece.to_ndarray()[0] for piece in resampler.resample(frame))
        parts.extend(piece.to_ndarray()[0] for piece in resampler.resample(None))
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)


def frame_rate_hz(path: Path) -> float:
    """Of a clip, as its container tells."""
    with av.open(str(path)) as container:
        return float(container.streams.video[0].average_rate or 25)


class SoundStore:
    """Many clips of sound in one int16 file that is mapped, not loaded. Written once; `stems` name the clips."""

    def __init__(self, path: Path) -> None:
        index = np.load(path.with_suffix(".index.npz"))
        self._starts: NDArray[np.int64] = index["starts"]
        self._row = {str(stem): row for row, stem in enumerate(index["stems"])}
        self._samples = np.memmap(path, np.int16, "r")

    def __contains__(self, stem: str) -> bool:
        return stem in self._row

    def get(self, stem: str) -> Floats:
        row = self._row[stem]
        return self._samples[self._starts[row] : self._starts[row + 1]].astype(np.float32) / 32768.0

    @staticmethod
    def write(path: Path, clips: Iterable[tuple[str, Floats]]) -> None:
        stems, starts = [], [0]
        with path.open("wb") as out:
            for stem, samples in clips:
                out.write(np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16).tobytes())
                stems.append(stem)
                starts.append(starts[-1] + len(samples))
        np.savez(path.with_suffix(".index.npz"), stems=np.array(stems), starts=np.array(starts, np.int64))

"""The pool's mouths as thirty numbers each: what the discriminant of texture over time is fitted on, and judged with."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from export.data.faces import NUISANCES, FaceRow
from export.data.folds import wild_folds
from export.data.pool import Row, read_table
from export.data.worn import Worn
from export.evidence import File, windows_of
from export.fisher import Material
from export.nets.mouth import texture_over_time
from monitor.inference.inputs import lips_are_due, mouths_of, shows_texture
from monitor.inference.session import Model
from monitor.media import Window

WORN_EVERY = 3  # genuine clips, for one that is looked at worn too
FOLDERS = ("wild", "talk", "devset")


@dataclass(frozen=True)
class MouthClip:
    """`numbers` of the clip as it is and, for some genuine ones, after a poor call: means over its windows."""

    folder: str
    row: Row
    numbers: NDArray[np.float64]
    worn: NDArray[np.float64] | None

    @property
    def fake(self) -> bool:
        return is_fake(self.row)


def is_fake(row: Row) -> bool:
    return row.get("label_video", row.get("label", "real")) == "fake"


def mouth_clips(pool: Path, detector: Model) -> list[MouthClip]:
    """Every clip of FOLDERS whose mouth was seen at the full rate and moved, through monitor's own pipeline; its windows are cached."""
    found = []
    with asyncio.Runner() as runner:
        for folder in FOLDERS:
            rows = read_table(pool / "data" / folder)
            for index, row in enumerate(track(rows, f"mouths of {folder}")):
                path = pool / "data" / folder / row["file"]
                numbers = None if row.get("kind") == "derived" else runner.run(_numbers(windows_of(File(path), detector)))
                if numbers is not None:
                    wears = folder != "devset" and not is_fake(row) and index % WORN_EVERY == 0
                    worn = runner.run(_numbers(windows_of(Worn(path, index), detector))) if wears else None
                    found.append(MouthClip(folder, row, numbers, worn))
    return found


async def _numbers(windows: Awaitable[list[Window]]) -> NDArray[np.float64] | None:
    """Of the face seen most, mean over the windows in which its lips are due; None where it is not to be judged."""
    found = []
    for window in await windows:
        seen = Counter(face.track_id for frame in window.frames for face in frame.faces if face.mouth_gray is not None)
        mouths = mouths_of(window, seen.most_common(1)[0][0]) if seen and lips_are_due(window) else None
        if mouths is not None and shows_texture(mouths[0]):
            found.append(texture_over_time(torch.from_numpy(mouths[0])[None])[0].double().numpy())
    return np.mean(found, axis=0) if found else None


def originals(clips: Iterable[MouthClip]) -> dict[str, MouthClip]:
    """The genuine clip of each `pair` of `wild`."""
    return {clip.row["pair"]: clip for clip in clips if clip.folder == "wild" and not clip.fake and clip.row["pair"]}


@dataclass(frozen=True)
class MouthFold:
    """Clips to fit on, and of `wild` those held out."""

    train: list[MouthClip]
    held: list[MouthClip]

    def material(self) -> Material:
        """Fakes beside their originals only; genuine people of `wild` and `talk`."""
        genuine = [clip for clip in self.train if not clip.fake]
        beside = originals(genuine)
        pairs = [clip for clip in self.train if clip.fake and clip.row["pair"] in beside]
        numbers = np.array([clip.numbers for clip in genuine])
        return Material(
            genuine=numbers,
            worn=np.array([clip.worn - clip.numbers for clip in genuine if clip.worn is not None]),
            pairs=np.array([clip.numbers - beside[clip.row["pair"]].numbers for clip in pairs]),
            pair_generators=[clip.row["generator"] for clip in pairs],
            alone=numbers[:0],
            alone_generators=[],
            base=numbers[:0],
            genuine_pages=[clip.row.get("source", "") if clip.folder == "wild" else clip.folder for clip in genuine],
        )


def mouth_folds(clips: Sequence[MouthClip], wild_rows: Sequence[Row], talk_rows: Sequence[Row]) -> list[MouthFold]:
    """The folds of `wild`, each with these clips (training speakers) of `talk`."""
    by_file = {(clip.folder, clip.row["file"]): clip for clip in clips}

    def found(folder: str, rows: Sequence[Row]) -> list[MouthClip]:
        return [by_file[folder, row["file"]] for row in rows if (folder, row["file"]) in by_file]

    return [MouthFold(found("wild", train) + found("talk", talk_rows), found("wild", held)) for train, held in wild_folds(wild_rows)]


def face_row(clip: MouthClip) -> FaceRow:
    """The row that `export.face_report` describes a clip by."""
    row = clip.row
    looks = tuple(float(row[name]) for name in NUISANCES) if all(row.get(name) for name in NUISANCES) else None
    kept = {key: row.get(key, "") for key in ("generator", "family", "group", "source")}
    return FaceRow(clip.folder, row["file"], clip.fake, origin=-1, masked=False, nuisances=looks, look=(0.0, 0.0, 0.0, 0.0), **kept)

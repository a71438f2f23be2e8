"""The pool's mouths as thirty numbers each: what the discriminant of texture over time is fitted on, and judged with."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from export.data.faces import NUISANCES, FaceRow
from export.data.folds import wild_folds
from export.data.pool import Row, read_table
from export.data.talk import Mouths, load_talk, split_talk
from export.data.video_codec import bits_for, through_video_codec
from export.fisher import Material
from export.nets.mouth import texture_over_time
from monitor.inference.inputs import at_full_rate

LONGEST_STEPS = 60
WORN_EVERY = 3
KBIT_S = (120.0, 900.0)  # of a picture of 640 × 360
FOLDERS = ("wild", "talk", "devset")


@dataclass(frozen=True)
class MouthClip:
    """`numbers` of the clip as it is and, for some genuine ones, after a poor call."""

    folder: str
    row: Row
    numbers: NDArray[np.float64]
    worn: NDArray[np.float64] | None

    @property
    def fake(self) -> bool:
        return self.row.get("label_video", self.row.get("label", "real")) == "fake"


def mouth_clips(pool: Path) -> list[MouthClip]:
    """Every clip of FOLDERS whose mouth was seen at the full rate; from the cache of `export.data.talk`."""
    rng = np.random.default_rng(4)
    found = []
    for folder in FOLDERS:
        store = load_talk(pool, folder)
        for index, row in enumerate(track(store.rows, f"mouths of {folder}")):
            mouths = store.clip(row).mouths[:LONGEST_STEPS]
            if row.get("kind") == "derived" or not at_full_rate(mouths):
                continue
            clip = MouthClip(folder, row, _numbers(mouths), None)
            wears = not clip.fake and folder != "devset" and index % WORN_EVERY == 0
            found.append(MouthClip(folder, row, clip.numbers, _numbers(worn(mouths, rng))) if wears else clip)
    return found


def worn(mouths: Mouths, rng: np.random.Generator) -> Mouths:
    """Mouths [T, 64, 64] as a call brings them: smaller pictures, few bits."""
    side = 2 * int(rng.uniform(0.5, 1.0) * mouths.shape[1] / 2)
    small = [
        cv2.cvtColor(cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB).astype(np.uint8) for each in mouths
    ]
    codec = "vp8" if rng.random() < 0.5 else "h264"
    shown = through_video_codec(small, codec, bits_per_s=bits_for(small[0], float(rng.uniform(*KBIT_S))))
    return np.stack([cv2.resize(each[..., 1], mouths.shape[1:], interpolation=cv2.INTER_LINEAR) for each in shown]).astype(np.uint8)


def _numbers(mouths: Mouths) -> NDArray[np.float64]:
    with torch.no_grad():
        return texture_over_time(torch.from_numpy(mouths.astype(np.float32))[None])[0].double().numpy()


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
        )


def mouth_folds(clips: Sequence[MouthClip], pool: Path) -> list[MouthFold]:
    """The folds of `wild`, each with the training speakers of `talk`."""
    by_file: dict[str, dict[str, MouthClip]] = defaultdict(dict)
    for clip in clips:
        by_file[clip.folder][clip.row["file"]] = clip
    talk = [by_file["talk"][row["file"]] for row in split_talk(read_table(pool / "data" / "talk"))[0] if row["file"] in by_file["talk"]]
    wild = by_file["wild"]
    return [
        MouthFold(
            [wild[row["file"]] for row in train if row["file"] in wild] + talk, [wild[row["file"]] for row in held if row["file"] in wild]
        )
        for train, held in wild_folds(read_table(pool / "data" / "wild"))
    ]


def face_row(clip: MouthClip) -> FaceRow:
    """The row that `export.face_report` describes a clip by."""
    row = clip.row
    looks = tuple(float(row[name]) for name in NUISANCES) if all(row.get(name) for name in NUISANCES) else None
    kept = {key: row.get(key, "") for key in ("generator", "family", "group", "source")}
    return FaceRow(clip.folder, row["file"], clip.fake, origin=-1, masked=False, nuisances=looks, look=(0.0, 0.0, 0.0, 0.0), **kept)

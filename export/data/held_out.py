"""Clips that no shipped model was trained on, as the training scripts split them: what calibration is fitted on."""

from dataclasses import dataclass
from pathlib import Path

from export.data.folds import wild_split
from export.data.pool import read_table
from export.data.talk import in_step, split_talk
from export.data.voices import split_voices


@dataclass(frozen=True)
class HeldClip:
    """`person`: speaker or look-alike group, "" when unknown. `fake`: of the modality that it is held out for."""

    path: Path
    fake: bool
    person: str
    generator: str


def held_voices(pool: Path) -> list[HeldClip]:
    """Voices of systems, pages and speakers that neither the voice net nor the lip–voice net ever heard."""
    folder = pool / "data" / "voices"
    _, held = split_voices(read_table(folder))
    return [HeldClip(folder / row["file"], row["label"] == "fake", row["speaker"], row["generator"]) for row in held]


def held_faces(pool: Path) -> list[HeldClip]:
    """Clips of `wild` whose people, pages and generators neither the face net nor the lip–voice net was trained on."""
    folder = pool / "data" / "wild"
    _, held = wild_split(read_table(folder))
    return [HeldClip(folder / row["file"], row["label_video"] == "fake", row["group"], row["generator"]) for row in held]


def held_talk(pool: Path) -> list[HeldClip]:
    """Genuine talk of speakers whom no net ever saw or heard, as far as lips and sound are known to be in step."""
    folder = pool / "data" / "talk"
    _, held = split_talk(read_table(folder))
    return [HeldClip(folder / row["file"], False, row["speaker"], "") for row in held if in_step(row)]

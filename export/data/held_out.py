"""Clips that no shipped model was trained on, as the training scripts split them: what calibration is fitted on."""

from dataclasses import dataclass
from pathlib import Path

from export.data.folds import wild_split
from export.data.pool import read_table
from export.data.talk import in_step, split_talk
from export.data.voices import split_voices
from export.voice_measures import families

TALK = "talk"  # the kind of genuine clip that is likest to calls


@dataclass(frozen=True)
class HeldClip:
    """`person`: speaker or look-alike group, "" when unknown. `fake`: of the modality that it is held out for. `kind`: family of the
    generator, or the collection that a genuine clip is from.
    """

    path: Path
    fake: bool
    person: str
    generator: str
    kind: str = ""


def held_voices(pool: Path) -> list[HeldClip]:
    """Voices of systems, pages and speakers that neither the voice net nor the lip–voice net ever heard."""
    folder = pool / "data" / "voices"
    _, held = split_voices(read_table(folder))
    family = families()
    return [
        HeldClip(folder / row["file"], fake, row["speaker"], row["generator"], family.get(row["generator"], "") if fake else row["source"])
        for row in held
        for fake in [row["label"] == "fake"]
    ]


def held_faces(pool: Path) -> list[HeldClip]:
    """Clips of `wild` whose people, pages and generators neither the face net nor the lip–voice net was trained on."""
    folder = pool / "data" / "wild"
    _, held = wild_split(read_table(folder))
    return [
        HeldClip(folder / row["file"], fake, row["group"], row["generator"], row["family"] if fake else row["source"])
        for row in held
        for fake in [row["label_video"] == "fake"]
    ]


def held_talk(pool: Path) -> list[HeldClip]:
    """Genuine talk of speakers whom no net ever saw or heard, as far as lips and sound are known to be in step."""
    folder = pool / "data" / "talk"
    _, held = split_talk(read_table(folder))
    return [HeldClip(folder / row["file"], False, row["speaker"], "", TALK) for row in held if in_step(row)]

"""Clips that no shipped model was trained on, as the training scripts split them: what calibration is fitted on."""

from dataclasses import dataclass
from pathlib import Path

from export.data.face_couples import fold_of
from export.data.faces import open_cache
from export.data.pool import read_table
from export.data.talk import split_talk, split_wild
from export.data.voices import split_voices


@dataclass(frozen=True)
class HeldClip:
    """`person`: speaker or look-alike group, "" when unknown. `fake`: of the modality that it is held out for."""

    path: Path
    fake: bool
    person: str
    generator: str


def held_voices(pool: Path) -> list[HeldClip]:
    """Voices of systems, pages and speakers that the voice net and the lip–voice net never heard."""
    folder = pool / "data" / "voices"
    _, held = split_voices(read_table(folder))
    return [HeldClip(folder / row["file"], row["label"] == "fake", row["speaker"], row["generator"]) for row in held]


def held_faces(pool: Path) -> list[HeldClip]:
    """Clips of `wild` that neither the face net nor the lip–voice net was trained on: each holds out generators, people and pages."""
    folder = pool / "data" / "wild"
    rows = {row["file"]: row for row in read_table(folder)}
    cache = open_cache(pool)
    _, held = fold_of(cache.rows)
    of_faces = {cache.rows[index].clip for index in held}
    trained_lips = {row["file"] for row in split_wild(list(rows.values()))[0]}
    return [
        HeldClip(folder / file, row["label_video"] == "fake", row["group"], row["generator"])
        for file, row in rows.items()
        if file in of_faces and file not in trained_lips
    ]


def held_talk(pool: Path) -> list[HeldClip]:
    """Genuine talk of speakers whom the lip–voice net never saw."""
    folder = pool / "data" / "talk"
    _, held = split_talk(read_table(folder))
    return [HeldClip(folder / row["file"], False, row["speaker"], "") for row in held]

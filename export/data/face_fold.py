"""Which rows of the face cache train, and which are held out."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from export.data.faces import FaceRow
from export.data.folds import wild_folds
from export.data.pool import read_table
from export.data.talk import split_avspeech, split_talk

ONE_STILL_OF = 8


@dataclass(frozen=True)
class Fold:
    """Rows of the cache: to train on; held out of `wild`, of `talk` and `avspeech` (genuine), of `stills`. `devset` is in none."""

    train: list[int]
    held: list[int]
    held_talk: list[int]
    held_stills: list[int]


def is_held_still(row: FaceRow) -> bool:
    """Whether a picture of `stills` never trains: one source clip in ONE_STILL_OF (a fake is of its target's), in every fold the same."""
    clip = re.sub(r"^target (\d+)\.jpg$", r"ffhq_\1", row.group) or row.clip
    return row.pool == "stills" and crc32(clip.encode()) % ONE_STILL_OF == 0


def not_trained_on(pool: Path, fold: int = 0) -> tuple[set[str], set[str], set[str]]:
    """Files ("wild/x.mp4") that are held out, held out as genuine talk, or left out because their generator is held out."""
    data = pool / "data"
    rows = read_table(data / "wild")
    train, held = wild_folds(rows)[fold]
    held_files = {f"wild/{row['file']}" for row in held}
    talk = {f"talk/{row['file']}" for row in split_talk(read_table(data / "talk"))[1]}
    avspeech = {f"avspeech/{row['file']}" for row in split_avspeech(read_table(data / "avspeech"))[1]}
    return held_files, talk | avspeech, {f"wild/{row['file']}" for row in rows} - {f"wild/{row['file']}" for row in train} - held_files


def fold_of(rows: Sequence[FaceRow], held: Collection[str], held_talk: Collection[str], left_out: Collection[str]) -> Fold:
    """See `folds.wild_folds`; the speakers of `talk` are split as the lip–voice net splits them."""
    files = [f"{row.pool}/{row.clip}" for row in rows]
    elsewhere = {*held, *held_talk, *left_out}
    return Fold(
        train=[i for i, file in enumerate(files) if rows[i].pool != "devset" and file not in elsewhere and not is_held_still(rows[i])],
        held=[i for i, file in enumerate(files) if file in held],
        held_talk=[i for i, file in enumerate(files) if file in held_talk],
        held_stills=[i for i, row in enumerate(rows) if is_held_still(row)],
    )

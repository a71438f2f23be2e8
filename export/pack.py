"""The packed training set: python -m export.pack [--out FILE] [--budget-mib 60] [--renew SECTION] [--pool DIR].

Face crops with the picture before and the mask, voices, lips with their sound, rows and folds, out of the caches (built first where
they are missing), and the nets that training starts from, small enough to carry to a machine with a GPU; `open_pack` reads it without the
pool, `python -m export.train_face --pack FILE` trains from it. Where not everything fits, every
generator gives in turn until the budget is spent, and so does every genuine person; `devset` is left out, for it only judges.
"""

import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from export.command_line import Arguments, command
from export.data import pack_file
from export.data.face_autoencoder import train_and_keep, weights_path
from export.data.face_fold import Fold, is_held_still
from export.data.faces import MASK_PX, FaceCache, FaceRow, Image, Shot, open_cache, weights_file
from export.data.folds import same_name
from export.data.pack_file import Floats, Section, open_archive, write_section
from export.data.pack_records import ALWAYS, Record, face_records, holders, lip_records, voice_records
from export.data.pool import Row, cache_folder, pool_folder
from export.data.talk import Clip, load_talk
from export.data.voices import load_voices

SHARES = {"faces": 0.56, "voices": 0.26, "lips": 0.18}  # of the budget
MIB = 2**20
BACKBONE, AUTOENCODER = "mobilenetv2_035_imagenet.npz", "autoencoder.pt"


class Pictures(Sequence[Image]):
    """Coded pictures that are decoded when they are asked for, about 1 ms each."""

    def __init__(self, count: int, decode: Callable[[int], Image]) -> None:
        self._count, self._decode = count, decode

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return np.stack([self._decode(each) for each in range(*index.indices(self._count))])
        return self._decode(range(self._count)[int(index)])


class PackedFaces:
    """What `FaceCache` gives: rows, crops, before, masks, shot. `held_in` [n]: the fold of `wild` that holds a row out, or ALWAYS."""

    def __init__(self, section: Section) -> None:
        self._section = section
        self.held_in: list[int] = [row.pop("held_in") for row in section.rows]
        self.rows = [_face_row(row) for row in section.rows]
        self.crops = Pictures(len(self.rows), lambda index: pack_file.from_jpeg(section.part(index, 0)))
        self.before = Pictures(len(self.rows), lambda index: pack_file.from_change(section.part(index, 1), self.crops[index]))
        self.masks = Pictures(len(self.rows), lambda index: pack_file.from_mask(section.part(index, 2), MASK_PX))

    def shot(self, index: int) -> Shot:
        """A crop and the same place a frame earlier: [2, 160, 160, 3]."""
        now = self.crops[index]
        return np.stack([now, pack_file.from_change(self._section.part(index, 1), now)])

    def decoded(self) -> FaceCache:
        """All of it in memory, 156 KiB a crop."""
        shots = [self.shot(index) for index in track(range(len(self.rows)), "decoding faces")]
        masks = self.masks[:]
        return FaceCache.of(np.stack([now for now, _ in shots]), np.stack([before for _, before in shots]), masks, self.rows)

    def fold(self, number: int = 0) -> Fold:
        """Rows to train on and rows held out, as `face_fold.fold_of` gives them for the whole cache."""
        talk = [row.pool in {"talk", "avspeech"} for row in self.rows]
        held = [i for i, fold in enumerate(self.held_in) if fold == number and self.rows[i].pool == "wild"]
        held_talk = [i for i, fold in enumerate(self.held_in) if fold != ALWAYS and talk[i]]
        names = {same_name(self.rows[i].generator) for i in held} - {""}
        left_out = {i for i, row in enumerate(self.rows) if row.pool == "wild" and same_name(row.generator) in names}
        held_stills = [i for i, row in enumerate(self.rows) if is_held_still(row)]
        never = {*held, *held_talk, *left_out, *held_stills}
        return Fold([i for i in range(len(self.rows)) if i not in never], held, held_talk, held_stills)


class PackedVoices:
    """Genuine and generated speech: `train` and `held` rows and their sound, as `Voices` gives them, plain only."""

    def __init__(self, section: Section) -> None:
        self._section = section
        self._place = {row["file"]: (place, row.pop("samples")) for place, row in enumerate(section.rows)}
        self.train = [row for row in section.rows if row["held_in"] == ALWAYS]
        self.held = [row for row in section.rows if row["held_in"] != ALWAYS]

    def samples(self, row: Row) -> Floats:
        place, length = self._place[row["file"]]
        return pack_file.from_opus(self._section.part(place, 0), length)


class PackedLips:
    """Mouths and sound of `talk`, `avspeech` and `wild` as `TalkStore` gives them; a row's `folder` says where it is from."""

    def __init__(self, section: Section) -> None:
        self._section = section
        self._place = {(row["folder"], row["file"]): (place, row.pop("samples")) for place, row in enumerate(section.rows)}
        self.rows: list[Row] = section.rows

    def clip(self, row: Row) -> Clip:
        place, length = self._place[row["folder"], row["file"]]
        sound = pack_file.from_opus(self._section.part(place, 1), length) if length else None
        return Clip(row, pack_file.from_lips(self._section.part(place, 0)), sound)


@dataclass(frozen=True)
class Pack:
    faces: PackedFaces
    voices: PackedVoices
    lips: PackedLips
    files: dict[str, bytes]  # BACKBONE and AUTOENCODER, which the face net and the workshop start from


def open_pack(path: Path) -> Pack:
    """The packed set, its coded bytes in memory. Raises PoolError when the file is none."""
    with open_archive(path) as archive:
        faces, voices, lips = (Section(archive, name) for name in SHARES)
        return Pack(PackedFaces(faces), PackedVoices(voices), PackedLips(lips), pack_file.files_of(archive))


def _face_row(saved: dict[str, Any]) -> FaceRow:
    nuisances = saved["nuisances"]
    return FaceRow(**{**saved, "nuisances": tuple(nuisances) if nuisances else None, "look": tuple(saved["look"])})


def write_pack(path: Path, sections: dict[str, list[Record]], files: dict[str, bytes]) -> None:
    """Sections that are not given are taken from what already lies in `path`."""
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w") as archive:
        for name, records in sections.items():
            write_section(archive, name, [row for row, _ in records], [parts for _, parts in records])
        for name, content in files.items():
            pack_file.write_file(archive, name, content)
        if kept := [name for name in SHARES if name not in sections]:
            pack_file.copy_sections(path, archive, kept)
    part.replace(path)


@command
def main() -> None:
    parser = Arguments(description=__doc__)
    parser.add_argument("--out", type=Path, help="default: pack/training.pack in the cache")
    parser.add_argument("--budget-mib", type=float, default=60.0)
    parser.add_argument("--renew", choices=list(SHARES), action="append", help="write only this section anew; may be given again")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    options = parser.parse_args()
    pool, started = pool_folder(options.pool), time.monotonic()
    out: Path = options.out or cache_folder("pack") / "training.pack"
    files = starting_nets(pool)
    renewed = list(options.renew or SHARES)
    kept_bytes = pack_file.bytes_of(out, [name for name in SHARES if name not in renewed])
    room = options.budget_mib * MIB - sum(map(len, files.values())) - kept_bytes
    held_in, shares = holders(pool), sum(SHARES[name] for name in renewed)
    steps: dict[str, Callable[[float], list[Record]]] = {
        "faces": lambda most: face_records(open_cache(pool), held_in, most),
        "voices": lambda most: voice_records(load_voices(pool), most),
        "lips": lambda most: lip_records({folder: load_talk(pool, folder) for folder in ("talk", "avspeech", "wild")}, held_in, most),
    }
    sections = {name: steps[name](SHARES[name] / shares * room) for name in track(renewed, "packing")}
    write_pack(out, sections, files)
    counts = ", ".join(f"{len(records)} {name}" for name, records in sections.items())
    print(f"{out}: {out.stat().st_size / MIB:.1f} MiB, {counts}, {time.monotonic() - started:.0f} s")


def starting_nets(pool: Path) -> dict[str, bytes]:
    """The frozen backbone of the face net and the workshop's autoencoder, which is trained first where it is missing."""
    if not weights_path().is_file():
        train_and_keep(open_cache(pool), pool)
    return {BACKBONE: weights_file(pool, BACKBONE).read_bytes(), AUTOENCODER: weights_path().read_bytes()}


if __name__ == "__main__":
    main()

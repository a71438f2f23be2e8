"""Copies of genuine speech, by the workshop's vocoders and by the pool's systems, and the spectra of all that the voice net trains on."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from export.data.pool import Row, SoundStore
from export.data.sound import roughen
from export.data.voice_pack import SpectrumPack
from export.data.voice_twins import find_twins, twin_sounds
from export.data.voice_workshop import plan_copies, write_copies
from export.data.voice_workshop_neural import NETS, neural_kinds
from export.data.voice_workshop_signal import KINDS, Kind
from export.data.voices import Voices, codec_of_each, stored
from monitor.speech.features import fixed_rms, log_spectrum

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Copies:
    """Rows of copies, with `original`, the genuine clip of the same fold that says the same; heard through their original's codec only."""

    train: list[Row]
    held: list[Row]
    stores: Mapping[str, SoundStore]

    def samples(self, row: Row) -> Floats:
        return next(store for store in self.stores.values() if row["file"] in store).get(row["file"])


def load_copies(cache: Path, rows: Sequence[Row], voices: Voices, talk: Voices) -> Copies:
    """Copies by signal vocoders, then by neural ones that learn from training speech alone, and twins. Of talk, training speakers only.

    `rows`: the table that `voices` was split from. Made in `cache` on the first call: about 20 minutes of one core, five of them to train
    the vocoders.
    """

    def neural() -> Mapping[str, Kind]:
        return neural_kinds(cache / "vocoders", [voices.plain.get(row["file"]) for row in voices.train if row["label"] == "real"])

    recorded = [row for row in rows if row["label"] == "real"]
    plans = (  # name, originals, vocoders, copies of a clip, seed
        ("signal", recorded, list(KINDS), 1.5, 7),
        ("neural", recorded, list(NETS), 0.5, 11),
        ("talk_signal", talk.train, list(KINDS), 2.0, 13),
        ("talk_neural", talk.train, list(NETS), 0.7, 17),
    )
    copies: list[Row] = []
    stores: dict[str, SoundStore] = {}
    for name, originals, kinds, each, seed in plans:
        planned, path = plan_copies(originals, kinds, each, seed), cache / f"copies_{name}.i16"
        if not path.with_suffix(".index.npz").exists():
            whose = talk if originals is talk.train else voices
            codecs = codec_of_each(talk.train + talk.held if whose is talk else rows)
            write_copies(path, planned, whose.plain.get, codecs, KINDS if "signal" in name else neural())
        copies += planned
        stores[name] = SoundStore(path)
    kept, path = cache / "twins.json", cache / "copies_twins.i16"
    if not kept.exists():
        kept.write_text(json.dumps(find_twins(voices)))
    twins: list[Row] = json.loads(kept.read_text())
    stores["twins"] = stored(path, lambda: twin_sounds(twins, voices, codec_of_each(rows)))
    copies += twins
    train, held = ({row["file"] for row in fold} for fold in (voices.train + talk.train, voices.held))
    return Copies([row for row in copies if row["original"] in train], [row for row in copies if row["original"] in held], stores)


def load_spectra(cache: Path, voices: Voices, talk: Voices, copies: Copies) -> SpectrumPack:
    """Spectra of the training side, "VARIANT:FILE": `plain` (not of copies), `worn` and `rough`; made on the first call (10 minutes)."""
    paths = []
    parts = {name: [row for row in copies.train if row["file"] in store] for name, store in copies.stores.items()}
    for name, rows in {"pool": voices.train, "talk": talk.train, **parts}.items():
        paths.append(cache / f"spectra_{name}.u8")
        if not paths[-1].with_suffix(".index.npz").exists():
            whose = talk if name == "talk" else voices
            seen = track(rows, f"spectra of {name}")
            SpectrumPack.write(paths[-1], (item for row in seen for item in _spectra(whose, copies, row)))
    return SpectrumPack(paths)


def _spectra(voices: Voices, copies: Copies, row: Row) -> Iterator[tuple[str, Floats]]:
    """A copy is roughened exactly as its original is."""
    if "original" in row:
        worn = fixed_rms(copies.samples(row))
    else:
        yield f"plain:{row['file']}", log_spectrum(fixed_rms(voices.samples(row, worn=False)))
        worn = fixed_rms(voices.samples(row, worn=True))
    yield f"worn:{row['file']}", log_spectrum(worn)
    rng = np.random.default_rng(zlib.crc32(row.get("original", row["file"]).encode()))
    yield f"rough:{row['file']}", log_spectrum(fixed_rms(roughen(worn, rng)))

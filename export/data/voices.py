"""Genuine and generated speech for the voice net: the pool's `voices`, Debian's synthesizers and the workshop's copies, cached."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from export.data.pool import Row, SoundStore, cache_folder, hold_out, read_sound, read_table
from export.data.sound import CODECS, roughen, through_codec, trim_silence
from export.data.voice_pack import SpectrumPack
from export.data.voice_workshop import Codec, plan_copies, write_copies
from export.data.voice_workshop_debian import HELD_BACK, synthesised
from export.data.voice_workshop_neural import NETS, neural_kinds
from export.data.voice_workshop_signal import KINDS, Kind
from monitor.speech.features import fixed_rms, log_spectrum

Floats = NDArray[np.float32]
HELD_SOURCES = (  # whole pages: vocoders, text-to-speech, conversion, speech-to-speech, codec tokens; and genuine speech
    "bigvgan-demo/bigvgan-demo.github.io",
    "SWivid/SWivid.github.io",
    "starganv2-vc/starganv2-vc.github.io",
    "google-research/lingvo-lab",
    "thuhcsi/icassp2024-msvalle",
    "speechbrain/speechbrain",
    "tyiannak/pyAudioAnalysis",
    "Picovoice/wake-word-benchmark",
    "Atul-Anand-Jha/Speaker-Identification-Python",
    "TranSpeech/TranSpeech.github.io",
    HELD_BACK,
)


@dataclass(frozen=True)
class Voices:
    """Rows (file, label, generator, source, speaker) by fold and the sound behind them."""

    train: list[Row]
    held: list[Row]
    plain: SoundStore
    worn: SoundStore

    def samples(self, row: Row, worn: bool) -> Floats:
        return (self.worn if worn else self.plain).get(row["file"])


@dataclass(frozen=True)
class Copies:
    """Rows of the workshop's copies, with `original`, the genuine clip of the same fold; heard through their original's codec only."""

    train: list[Row]
    held: list[Row]
    stores: Mapping[str, SoundStore]

    def samples(self, row: Row) -> Floats:
        return next(store for store in self.stores.values() if row["file"] in store).get(row["file"])


def split_voices(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """(train, held): no generator, source or named speaker is in both."""
    return hold_out(rows, HELD_SOURCES, by="source", disjoint=("generator", "speaker"))


def load_voices(pool: Path) -> Voices:
    """The pool's clips and Debian's synthesizers, made and cached on the first call (about 8 minutes of one core)."""
    cache, folder = cache_folder("voices"), pool / "data" / "voices"
    rows = read_table(folder)
    plain = _stored(cache / "plain.i16", lambda: ((row["file"], trim_silence(read_sound(folder / row["file"]))) for row in rows))
    made_rows = cache / "workshop.npy"
    if not made_rows.exists():
        extra = list(synthesised())
        SoundStore.write(cache / "workshop.i16", ((row["file"], sound) for row, sound in extra))
        np.save(made_rows, np.array([list(row.values()) for row, _ in extra]))
    every_row = rows + [dict(zip(rows[0], values, strict=True)) for values in np.load(made_rows).tolist()]
    parts = (plain, SoundStore(cache / "workshop.i16"))
    every = _stored(
        cache / "every.i16", lambda: ((row["file"], next(p for p in parts if row["file"] in p).get(row["file"])) for row in every_row)
    )
    codecs = codec_of_each(every_row)
    worn = _stored(cache / "worn.i16", lambda: _worn(every_row, every, codecs))
    train, held = split_voices(every_row)
    return Voices(train, held, every, worn)


def _stored(path: Path, clips: Callable[[], Iterator[tuple[str, Floats]]]) -> SoundStore:
    if not path.with_suffix(".index.npz").exists():
        SoundStore.write(path, clips())
    return SoundStore(path)


def codec_of_each(rows: Sequence[Row]) -> dict[str, Codec]:
    """(codec, bits a second) of each file, drawn without regard to its label."""
    rng = np.random.default_rng(5)
    drawn = {}
    for row in rows:
        codec = str(rng.choice(list(CODECS), p=[0.5, 0.2, 0.1, 0.2]))
        drawn[row["file"]] = (codec, int(rng.choice(CODECS[codec][2])))
    return drawn


def _worn(rows: Sequence[Row], plain: SoundStore, codecs: Mapping[str, Codec]) -> Iterator[tuple[str, Floats]]:
    """One codec round trip for each clip."""
    for row in track(rows, "clips through codecs"):
        yield row["file"], through_codec(fixed_rms(plain.get(row["file"])), *codecs[row["file"]])


def load_copies(pool: Path, voices: Voices) -> Copies:
    """Copies of the pool's genuine clips by signal vocoders, then by neural ones that learn from training speech alone.

    Made and cached on the first call: about 15 minutes of one core, five of them to train the vocoders.
    """
    cache, rows = cache_folder("voices"), read_table(pool / "data" / "voices")
    genuine, codecs = [row for row in rows if row["label"] == "real"], codec_of_each(rows)

    def neural() -> Mapping[str, Kind]:
        return neural_kinds(cache / "vocoders", [voices.plain.get(row["file"]) for row in voices.train if row["label"] == "real"])

    copies: list[Row] = []
    stores: dict[str, SoundStore] = {}
    for name, kinds, each, seed, make in (("signal", list(KINDS), 1.5, 7, lambda: KINDS), ("neural", list(NETS), 0.5, 11, neural)):
        planned, path = plan_copies(genuine, kinds, each, seed), cache / f"copies_{name}.i16"
        if not path.with_suffix(".index.npz").exists():
            write_copies(path, planned, voices.plain, codecs, make())
        copies += planned
        stores[name] = SoundStore(path)
    train, held = ({row["file"] for row in fold} for fold in (voices.train, voices.held))
    return Copies([row for row in copies if row["original"] in train], [row for row in copies if row["original"] in held], stores)


def load_spectra(voices: Voices, copies: Copies) -> SpectrumPack:
    """Spectra of the training side, "VARIANT:FILE": `plain` (not of copies), `worn` and `rough`; made on the first call (8 minutes)."""
    cache, paths = cache_folder("voices"), []
    parts = {name: [row for row in copies.train if row["file"] in store] for name, store in copies.stores.items()}
    for name, rows in {"pool": voices.train, **parts}.items():
        paths.append(cache / f"spectra_{name}.u8")
        if not paths[-1].with_suffix(".index.npz").exists():
            seen = track(rows, f"spectra of {name}")
            SpectrumPack.write(paths[-1], (item for row in seen for item in _spectra(voices, copies, row)))
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

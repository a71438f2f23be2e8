"""Genuine and generated speech for the voice net: the pool's `voices`, Debian's synthesizers, and talk on phones and webcams, cached."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from export.data.pool import Row, SoundStore, cache_folder, hold_out, read_sound, read_table
from export.data.sound import CODECS, through_codec, trim_silence
from export.data.talk import split_avspeech, split_talk
from export.data.voice_workshop import Codec
from export.data.voice_workshop_debian import HELD_BACK, synthesised
from monitor.speech.features import fixed_rms

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
TALK_EVERY = {"talk": (1, 1), "avspeech": (3, 8)}  # of these folders of talk the so-manieth clip is used: (to train with, held)
LEAST_SAMPLES = 12_800


class Sounds:
    """Several stores as one."""

    def __init__(self, *stores: SoundStore) -> None:
        self._stores = stores

    def __contains__(self, file: str) -> bool:
        return any(file in store for store in self._stores)

    def get(self, file: str) -> Floats:
        return next(store for store in self._stores if file in store).get(file)


@dataclass(frozen=True)
class Voices:
    """Rows (file, label, generator, source, speaker) by fold and the sound behind them."""

    train: list[Row]
    held: list[Row]
    plain: Sounds
    worn: Sounds

    def samples(self, row: Row, worn: bool) -> Floats:
        return (self.worn if worn else self.plain).get(row["file"])


def split_voices(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """(train, held): no generator, source or named speaker is in both."""
    return hold_out(rows, HELD_SOURCES, by="source", disjoint=("generator", "speaker"))


def load_voices(pool: Path) -> Voices:
    """The pool's clips and Debian's synthesizers, made and cached on the first call (about 8 minutes of one core)."""
    cache, folder = cache_folder("voices"), pool / "data" / "voices"
    rows = read_table(folder)
    plain = stored(cache / "plain.i16", lambda: ((row["file"], trim_silence(read_sound(folder / row["file"]))) for row in rows))
    made_rows = cache / "workshop.npy"
    if not made_rows.exists():
        extra = list(synthesised())
        SoundStore.write(cache / "workshop.i16", ((row["file"], sound) for row, sound in extra))
        np.save(made_rows, np.array([list(row.values()) for row, _ in extra]))
    every_row = rows + [dict(zip(rows[0], values, strict=True)) for values in np.load(made_rows).tolist()]
    parts = Sounds(plain, SoundStore(cache / "workshop.i16"))
    every = Sounds(stored(cache / "every.i16", lambda: ((row["file"], parts.get(row["file"])) for row in every_row)))
    return Voices(*split_voices(every_row), every, worn_store(cache / "worn.i16", every_row, every))


def load_talk_voices(pool: Path) -> Voices:
    """Genuine people at phones, webcams and in a studio, out of the folders of lips and voices; `source` is the folder.

    Train and held are the speakers that the lip–voice net trains on and never hears. Made and cached on the first call (a minute).
    """
    cache = cache_folder("voices")
    folds: tuple[list[Row], list[Row]] = ([], [])
    for folder, split in (("talk", split_talk), ("avspeech", split_avspeech)):
        for fold, rows, every in zip(folds, split(read_table(pool / "data" / folder)), TALK_EVERY[folder], strict=True):
            fold += [talk_row(folder, row) for row in rows[::every]]
    every_row = folds[0] + folds[1]
    plain = stored(cache / "talk_plain.i16", lambda: ((row["file"], _talk_sound(pool, row)) for row in every_row))
    train, held = ([row for row in fold if len(plain.get(row["file"])) >= LEAST_SAMPLES] for fold in folds)
    return Voices(train, held, Sounds(plain), worn_store(cache / "talk_worn.i16", train + held, Sounds(plain)))


def talk_row(folder: str, row: Row) -> Row:
    """A row of a folder of talk as a row of genuine speech."""
    return {"file": f"{folder}/{row['file']}", "label": "real", "generator": "", "source": folder, "speaker": row.get("speaker", "")}


def _talk_sound(pool: Path, row: Row) -> Floats:
    """Empty where there is no sound."""
    sound = read_sound(pool / "data" / row["file"])
    return trim_silence(sound) if len(sound) and np.abs(sound).max() > 1e-3 else np.zeros(0, np.float32)


def stored(path: Path, clips: Callable[[], Iterator[tuple[str, Floats]]]) -> SoundStore:
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


def worn_store(path: Path, rows: Sequence[Row], plain: Sounds) -> Sounds:
    """One codec round trip for each clip."""
    codecs = codec_of_each(rows)

    def worn() -> Iterator[tuple[str, Floats]]:
        for row in track(rows, "clips through codecs"):
            yield row["file"], through_codec(fixed_rms(plain.get(row["file"])), *codecs[row["file"]])

    return Sounds(stored(path, worn))

"""What the voice net trains on and is judged with, out of the pool or out of the packed set alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.data.pack_records import ALWAYS
from export.data.pool import Row, cache_folder, read_table
from export.data.sound import cut
from export.data.voice_batches import Data
from export.data.voice_copies import Copies, load_copies, load_spectra
from export.data.voices import TALK_EVERY, Sounds, Voices, load_talk_voices, load_voices, stored, talk_row, worn_store
from export.pack import Pack, open_pack
from monitor.inference.card import sha256_of
from monitor.media import AUDIO_RATE_HZ
from monitor.speech.features import fixed_rms, log_spectrum

Floats = NDArray[np.float32]
WINDOW = round(2.4 * AUDIO_RATE_HZ)


@dataclass(frozen=True)
class Material:
    """Voices of the pool's systems and people, `talk` of genuine people at phones and webcams, copies of both; what is cached of them."""

    voices: Voices
    talk: Voices
    copies: Copies
    cache: Path

    def data(self) -> Data:
        spectra = load_spectra(self.cache, self.voices, self.talk, self.copies)
        return Data(self.voices, self.talk.train, self.copies.train, spectra, talk_features(self.talk))


def material_of_pool(pool: Path) -> Material:
    voices, talk, cache = load_voices(pool), load_talk_voices(pool), cache_folder("voices")
    return Material(voices, talk, load_copies(cache, read_table(pool / "data" / "voices"), voices, talk), cache)


def material_of_pack(path: Path) -> Material:
    """The same out of the packed set, as far as it holds it; copies and spectra are made anew beside it in the cache (25 minutes).

    Raises PoolError when the file is no packed set.
    """
    pack = open_pack(path)
    cache = cache_folder(f"voices_of_pack_{sha256_of(path)[:12]}")
    voices, talk = voices_of(pack, cache), talk_of(pack, cache)
    return Material(voices, talk, load_copies(cache, voices.train + voices.held, voices, talk), cache)


def voices_of(pack: Pack, cache: Path) -> Voices:
    rows = pack.voices.train + pack.voices.held
    plain = Sounds(stored(cache / "every.i16", lambda: ((row["file"], pack.voices.samples(row)) for row in rows)))
    return Voices(pack.voices.train, pack.voices.held, plain, worn_store(cache / "worn.i16", rows, plain))


def talk_of(pack: Pack, cache: Path) -> Voices:
    found = [row for row in pack.lips.rows if row["folder"] in TALK_EVERY]
    plain = stored(cache / "talk_plain.i16", lambda: ((talk_row(row["folder"], row)["file"], _sound(pack, row)) for row in found))
    heard = [row for row in found if len(plain.get(talk_row(row["folder"], row)["file"]))]
    train, held = ([talk_row(row["folder"], row) for row in heard if (int(row["held_in"]) == ALWAYS) == side] for side in (True, False))
    return Voices(train, held, Sounds(plain), worn_store(cache / "talk_worn.i16", train + held, Sounds(plain)))


def _sound(pack: Pack, row: Row) -> Floats:
    sound = pack.lips.clip(row).sound
    return np.zeros(0, np.float32) if sound is None else sound


def held_features(voices: Voices) -> Floats:
    """The middle 2.4 s of each held clip, plain and codec-worn: float16 [2, clips, 240, 256]."""
    rng = np.random.default_rng(0)
    return np.array([[_features(_middle(voices.samples(row, worn)), rng) for row in voices.held] for worn in (False, True)])


def talk_features(talk: Voices) -> Floats:
    """Log spectra, float16 [clips, 240, 256], of the held people at phones and webcams and in a studio: no alarm may be raised."""
    rng = np.random.default_rng(0)
    return np.array([_features(talk.samples(row, worn=False), rng) for row in talk.held])


def _middle(samples: Floats) -> Floats:
    spare = max(0, len(samples) - WINDOW) // 2
    return samples[spare : spare + WINDOW]


def _features(samples: Floats, rng: np.random.Generator) -> NDArray[np.float16]:
    return log_spectrum(fixed_rms(cut(samples, WINDOW, rng))).astype(np.float16)

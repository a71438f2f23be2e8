"""The forgery workshop for voices: copies of genuine speech, labelled generated, and splices whose seconds are known.

A copy says the same at the same times as its original and keeps its `source` and `speaker`, so it falls into the same fold. Beside its
original, through the same codec, all that differs is what a vocoder does (copy-synthesis: arXiv 2210.10570).
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy import signal

from export.data.pool import Row, SoundStore
from export.data.sound import through_codec
from export.data.voice_workshop_signal import Kind
from monitor.media import AUDIO_RATE_HZ

Floats = NDArray[np.float32]
Codec = tuple[str, int]
PART_BAND = 0.25  # share of copies that are forged above or below some frequency only


def copy_of(samples: Floats, kind: Kind, rng: np.random.Generator) -> Floats:
    """`samples` rebuilt by a vocoder: same length and RMS; one in four keeps the original below (or above) 1–4 kHz."""
    made = kind(samples, rng).astype(np.float32)
    made *= _rms(samples) / _rms(made)
    if rng.random() < PART_BAND:
        edge = rng.uniform(1000, 4000) / (AUDIO_RATE_HZ / 2)
        low = signal.butter(5, edge, output="sos")
        kept, forged = (samples, made) if rng.random() < 0.7 else (made, samples)
        made = (signal.sosfiltfilt(low, kept) + forged - signal.sosfiltfilt(low, forged)).astype(np.float32)
        made *= _rms(samples) / _rms(made)
    return np.clip(made, -1.0, 1.0)


def splice(genuine: Floats, forged: Floats, rng: np.random.Generator) -> tuple[Floats, float, float]:
    """(samples, start_s, end_s): `genuine` with one stretch of `forged` between start_s and end_s, 5 ms of cross-fade inside it.

    The stretch is at least 0.6 s and at most what `forged` holds and 70 % of `genuine`; a copy of the same length is taken from the same
    place, anything else from a random one. The level of the stretch is that of what it replaces. Raises ValueError below 1 s of either.
    """
    if min(len(genuine), len(forged)) < AUDIO_RATE_HZ:
        raise ValueError("a splice needs at least 1 s of genuine and of forged speech")
    longest = min(len(forged), int(0.7 * len(genuine)))
    length = int(rng.integers(int(0.6 * AUDIO_RATE_HZ), longest + 1))
    start = int(rng.integers(0, len(genuine) - length + 1))
    taken = start if len(forged) == len(genuine) else int(rng.integers(0, len(forged) - length + 1))
    replaced, stretch = genuine[start : start + length], forged[taken : taken + length]
    stretch = stretch * (_rms(replaced) / _rms(stretch))
    fade = np.clip(np.minimum(np.arange(1, length + 1), np.arange(length, 0, -1)) / (AUDIO_RATE_HZ // 200), 0, 1).astype(np.float32)
    samples = genuine.copy()
    samples[start : start + length] = fade * stretch + (1 - fade) * replaced
    return samples, start / AUDIO_RATE_HZ, (start + length) / AUDIO_RATE_HZ


def plan_copies(genuine: Sequence[Row], kinds: Sequence[str], each: float, seed: int) -> list[Row]:
    """Rows of the copies to make: `each` copies of a genuine clip on average, of different kinds. `original` names the clip."""
    rng = np.random.default_rng(seed)
    rows = []
    for row in genuine:
        count = int(each) + int(rng.random() < each % 1)
        for kind in rng.permutation(np.array(kinds))[:count]:
            made = {"file": f"{kind}~{row['file']}", "label": "fake", "generator": f"workshop: {kind}", "original": row["file"]}
            rows.append(made | {"source": row["source"], "speaker": row["speaker"]})
    return rows


def write_copies(
    path: Path, rows: Sequence[Row], plain: Callable[[str], Floats], codecs: Mapping[str, Codec], kinds: Mapping[str, Kind]
) -> None:
    """Make the copies in `rows` and store them as heard through the codec of their original (`codecs` and `plain` sound by file)."""

    def made() -> Iterator[tuple[str, Floats]]:
        for row in track(rows, f"{path.stem}: copies of genuine speech"):
            kind = kinds[row["file"].partition("~")[0]]
            copy = copy_of(plain(row["original"]), kind, np.random.default_rng(zlib.crc32(row["file"].encode())))
            yield row["file"], through_codec(copy * np.float32(0.05 / _rms(copy)), *codecs[row["original"]])

    SoundStore.write(path, made())


def _rms(samples: NDArray[np.floating]) -> np.float32:
    return np.float32(np.sqrt(np.mean(np.square(samples, dtype=np.float64))) + 1e-6)

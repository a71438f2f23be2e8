"""Genuine and generated speech for the voice net: the pool's `voices` plus our own workshop fakes, cached as plain and codec-worn sound."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.data.pool import PoolError, Row, SoundStore, cache_folder, hold_out, read_sound, read_table
from export.data.sound import CODECS, through_codec, trim_silence
from monitor.media import AUDIO_RATE_HZ

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
    "workshop, held back",
)
SENTENCES = (
    "Could you send me the figures before the end of the week?",
    "I will be a few minutes late, please start without me.",
    "The weather in the mountains changed quickly this afternoon.",
    "Let us go through the list again and see what is still open.",
    "My sister moved into a small house near the river last year.",
    "We should ask the others what they think about the second plan.",
    "The train was full, so I stood next to the door the whole way.",
    "Yesterday evening they played an old film in the village hall.",
    "Nobody expected the meeting to take more than half an hour.",
    "There are three boxes of books on the table by the window.",
    "He told me that the new bridge will be open in September.",
    "If you need anything else, call me or write a short message.",
    "The children built a boat of paper and let it float away.",
    "Our neighbour has been growing tomatoes on his roof for years.",
    "It is hard to hear you, the connection drops every few seconds.",
    "She studied the map carefully and chose the longer road.",
    "Payments above this amount need a second signature.",
    "They found the missing keys under a pile of newspapers.",
    "A thin layer of ice covered the lake early this morning.",
    "Thank you for waiting, somebody will be with you shortly.",
)
HELD_SENTENCES = (
    "The bakery on the corner closes at noon on Wednesdays.",
    "We have measured it twice and the result did not change.",
    "Please repeat the last part, I could not follow it.",
    "Several birds were sitting on the wire above the yard.",
)
ESPEAK = ("en-us", "en-gb", "en-us+f2", "en-gb+m3", "en-gb-scotland", "en-us+m7", "en-029", "en-gb+f4", "en-us+croak", "en-gb-x-rp+f5")
FLITE = ("kal", "awb", "rms", "slt")
FESTIVAL = ("voice_kal_diphone", "voice_cmu_us_slt_arctic_hts")


@dataclass(frozen=True)
class Voices:
    """Rows (file, label, generator, source, speaker) by fold and the sound behind them."""

    train: list[Row]
    held: list[Row]
    plain: SoundStore
    worn: SoundStore

    def samples(self, row: Row, worn: bool) -> Floats:
        return (self.worn if worn else self.plain).get(row["file"])


def split_voices(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """(train, held): no generator, source or named speaker is in both."""
    return hold_out(rows, HELD_SOURCES, by="source", disjoint=("generator", "speaker"))


def load_voices(pool: Path) -> Voices:
    """Everything, cached on the first call (about 8 minutes of one core)."""
    cache = cache_folder("voices")
    rows = read_table(pool / "data" / "voices")
    plain = cache / "plain.i16"
    if not plain.with_suffix(".index.npz").exists():
        folder = pool / "data" / "voices"
        SoundStore.write(plain, ((row["file"], trim_silence(read_sound(folder / row["file"]))) for row in rows))
    workshop, made = cache / "workshop.i16", cache / "workshop.npy"
    if not made.exists():
        extra = list(_workshop(rows, SoundStore(plain)))
        SoundStore.write(workshop, ((row["file"], sound) for row, sound in extra))
        np.save(made, np.array([list(row.values()) for row, _ in extra]))
    rows = rows + [dict(zip(rows[0], values, strict=True)) for values in np.load(made).tolist()]
    every, worn = cache / "every.i16", cache / "worn.i16"
    if not every.with_suffix(".index.npz").exists():
        parts = [SoundStore(plain), SoundStore(workshop)]
        SoundStore.write(every, ((row["file"], next(part for part in parts if row["file"] in part).get(row["file"])) for row in rows))
    if not worn.with_suffix(".index.npz").exists():
        SoundStore.write(worn, _worn(rows, SoundStore(every)))
    train, held = split_voices(rows)
    return Voices(train, held, SoundStore(every), SoundStore(worn))


def _worn(rows: list[Row], plain: SoundStore) -> Iterator[tuple[str, Floats]]:
    """One codec round trip for each clip, drawn without regard to its label."""
    rng = np.random.default_rng(5)
    for row in rows:
        codec = str(rng.choice(list(CODECS), p=[0.5, 0.2, 0.1, 0.2]))
        level = 0.05 / (float(np.sqrt(np.mean(plain.get(row["file"]) ** 2))) + 1e-6)
        yield row["file"], through_codec(plain.get(row["file"]) * np.float32(level), codec, int(rng.choice(CODECS[codec][2])))


def _workshop(rows: list[Row], plain: SoundStore) -> Iterator[tuple[Row, Floats]]:
    """Debian's synthesizers and Griffin–Lim copies of genuine clips, all through Opus like the pool itself."""
    missing = [program for program in ("espeak-ng", "flite", "text2wave") if not shutil.which(program)]
    if missing:
        packages = "espeak-ng flite festival festvox-kallpc16k festvox-us-slt-hts"
        raise PoolError(f"{', '.join(missing)} not found, which speak our own generated voices; apt-get install {packages}")
    rng = np.random.default_rng(3)
    voices = [("espeak-ng", name) for name in ESPEAK] + [("flite", name) for name in FLITE] + [("festival", name) for name in FESTIVAL]
    for engine, voice in voices:
        held = voice in {"en-gb-x-rp+f5", "en-us+m7", "rms"}
        sentences = HELD_SENTENCES if held else SENTENCES
        for index, text in enumerate(rng.permutation(np.array(sentences))[: 20 if engine != "espeak-ng" else 10]):
            sound = trim_silence(_synthesise(engine, voice, str(text), rng))[: int(3.6 * AUDIO_RATE_HZ)]
            source = "workshop, held back" if held else f"workshop {engine}"
            name = f"workshop_{engine}_{voice}_{index}"
            yield _row(name, f"{engine} {voice}", source, f"{engine} {voice}"), through_codec(sound, "opus", 32_000)
    genuine = [row for row in rows if row["label"] == "real"]
    for index in rng.permutation(len(genuine))[:200]:
        original = genuine[index]
        copy = griffin_lim(plain.get(original["file"]), int(rng.choice([512, 800, 1024])), int(rng.choice([4, 12, 30])), rng)
        row = _row(f"griffinlim_{original['file']}", "Griffin-Lim copy, " + original["source"], original["source"], original["speaker"])
        yield row, through_codec(copy, "opus", 32_000)


def _row(file: str, generator: str, source: str, speaker: str) -> Row:
    return {"file": file, "label": "fake", "generator": generator, "source": source, "speaker": speaker}


def _synthesise(engine: str, voice: str, text: str, rng: np.random.Generator) -> Floats:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "speech.wav"
        if engine == "espeak-ng":
            command = ["espeak-ng", "-v", voice, "-s", str(rng.integers(135, 190)), "-p", str(rng.integers(25, 75)), "-w", str(out), text]
        elif engine == "flite":
            command = ["flite", "-voice", voice, "-t", text, "-o", str(out)]
        else:
            command = ["text2wave", "-eval", f"({voice})", "-o", str(out)]
        subprocess.run(command, input=text.encode(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return read_sound(out)


def griffin_lim(samples: Floats, size: int, rounds: int, rng: np.random.Generator) -> Floats:
    """Speech rebuilt from the magnitude of its short-time spectrum alone (Griffin and Lim 1984): a vocoder without a network."""
    hop = size // 4
    window = np.hanning(size + 1)[:-1]
    padded = np.pad(samples, size)
    magnitude = np.abs(_stft(padded, window, hop))
    phase = np.exp(2j * np.pi * rng.random(magnitude.shape))
    for _ in range(rounds):
        spectrum = _stft(_istft(magnitude * phase, window, hop, len(padded)), window, hop)
        phase = spectrum / np.maximum(np.abs(spectrum), 1e-9)
    return _istft(magnitude * phase, window, hop, len(padded))[size : size + len(samples)].astype(np.float32)


def _stft(samples: NDArray[np.floating], window: NDArray[np.float64], hop: int) -> NDArray[np.complex128]:
    cuts = np.lib.stride_tricks.sliding_window_view(samples, len(window))[::hop]
    return np.fft.rfft(cuts * window)


def _istft(spectrum: NDArray[np.complex128], window: NDArray[np.float64], hop: int, length: int) -> NDArray[np.float64]:
    cuts = np.fft.irfft(spectrum) * window
    out, weight = np.zeros(length), np.full(length, 1e-9)
    for index, cut in enumerate(cuts):
        out[index * hop : index * hop + len(window)] += cut
        weight[index * hop : index * hop + len(window)] += window**2
    rebuilt: NDArray[np.float64] = out / np.maximum(weight, 1e-3)
    return rebuilt

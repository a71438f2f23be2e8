"""The voices of the pool as the lip–voice net hears them, computed once: log_mel, speech units, and what the voice net thinks of each."""

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from export.data.pool import REPOSITORY, PoolError, Row, cache_folder
from export.data.units import Units
from export.data.voices import Voices
from export.onnx_files import open_onnx
from monitor.inference.card import sha256_of
from monitor.speech.features import fixed_rms, log_mel, log_spectrum

Floats = NDArray[np.float32]
TEACHER = REPOSITORY / "exported_models" / "voice_forgery.onnx"
LEAST_SAMPLES = 16_000


class VoiceMels:
    """Training voices of at least a second, plain and codec-worn: `mel(index, worn)` float32 [frames, 64]; `units` of the plain ones."""

    def __init__(self, voices: Voices, units: Units) -> None:
        self._voices = voices
        rows = [row for row in voices.train if len(voices.samples(row, worn=False)) >= LEAST_SAMPLES]
        folder = cache_folder("voice_mels")
        kept = folder / "index.npz"
        if not kept.exists() or np.load(kept)["files"].tolist() != [row["file"] for row in rows]:
            starts, found = [0], []
            with (folder / "mels.f16").open("wb") as out:
                for row in rows:
                    plain, worn = (_mel(voices.samples(row, worn=each)) for each in (False, True))
                    frames = min(len(plain), len(worn)) // 4 * 4
                    out.write(np.stack([plain[:frames], worn[:frames]]).astype(np.float16).tobytes())
                    found.append(units.of(plain[:frames]))
                    starts.append(starts[-1] + frames)
            np.savez(kept, files=[row["file"] for row in rows], starts=np.array(starts), units=np.concatenate(found))
        index = np.load(kept)
        self.rows: list[Row] = rows
        self._starts, self._units = index["starts"], index["units"]
        self._mels = np.memmap(folder / "mels.f16", np.float16, "r").reshape(-1, 64)

    def mel(self, index: int, *, worn: bool) -> Floats:
        start, stop = int(self._starts[index]), int(self._starts[index + 1])
        first = 2 * start + (stop - start if worn else 0)
        return self._mels[first : first + stop - start].astype(np.float32)

    def units(self, index: int) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._units[self._starts[index] // 4 : self._starts[index + 1] // 4]
        return found

    def opinions(self) -> Floats:
        """The voice net's chance that each voice is forged, float32 [n]; asked once for each version of that net."""
        if not TEACHER.is_file():
            raise PoolError(f"{TEACHER} is missing, which teaches this net about voices; run python -m export.train_voice first")
        kept = cache_folder("voice_mels") / f"opinions_{sha256_of(TEACHER)[:12]}_{len(self.rows)}.npy"
        if not kept.exists():
            session = open_onnx(TEACHER)
            logits = [self._asked(session, row, worn=bool(index % 2)) for index, row in enumerate(self.rows)]
            np.save(kept, (1 / (1 + np.exp(-np.clip(logits, -4, 4)))).astype(np.float32))
        found: Floats = np.load(kept)
        return found

    def _asked(self, session: InferenceSession, row: Row, *, worn: bool) -> float:
        samples = fixed_rms(np.resize(self._voices.samples(row, worn=worn), 38_400))
        return float(session.run(["logit"], {"log_spectrum": log_spectrum(samples)[None], "samples": samples[None]})[0][0])


def _mel(samples: Floats) -> Floats:
    return log_mel(fixed_rms(samples))


def worn_mels(mels: Floats, rng: np.random.Generator) -> Floats:
    """log_mel [B, 4 T, 64] as other throats, rooms and microphones would give it: bands stretched, tilted, coloured, cut off, noisy."""
    frames, bands = mels.shape[1:]
    at = np.arange(bands)
    out = np.empty_like(mels)
    for index, plain in enumerate(mels):
        mel = plain
        if rng.random() < 0.6:
            source = np.clip(at * rng.uniform(0.88, 1.13), 0, bands - 1)
            low = np.minimum(source.astype(np.int64), bands - 2)
            share = (source - low).astype(np.float32)
            mel = mel[:, low] * (1 - share) + mel[:, low + 1] * share
        colour = rng.uniform(-0.5, 0.5) + rng.uniform(-1, 1) * (at / bands - 0.5)
        if rng.random() < 0.6:
            colour = colour + sum(rng.normal(0, 0.35) * np.cos(np.pi * turns * at / bands + rng.uniform(0, 6.3)) for turns in (2, 3, 5))
        out[index] = mel + colour.astype(np.float32)
        if rng.random() < 0.15:
            out[index, :, int(rng.integers(36, 62)) :] = rng.uniform(-11, -8)
        if rng.random() < 0.4:
            floor = out[index].mean() - rng.uniform(0, 6) - rng.uniform(-1, 2) * (at / bands)
            noise = floor + rng.gumbel(0, 0.6, (frames, bands))
            out[index] = np.logaddexp(out[index], noise)
    return out

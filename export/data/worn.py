"""A clip as a poor call would bring it: smaller, harder pressed pictures; noise, a narrower band and another level in the sound.

How a clip is worn is drawn from its seed and nothing else, so genuine and forged clips wear alike.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.pool import Floats
from export.data.recordings import items_of
from monitor.channel import Channel
from monitor.media import AUDIO_RATE_HZ, AudioChunk, MediaItem, Pixels, VideoFrame

BANDS_HZ = (3400, 5000, 7000, 8000)


@dataclass(frozen=True)
class Wear:
    """`scale` of the picture's sides, JPEG `quality` 1..100; `snr_db` of added noise, `band_hz`, `level_db` of the sound."""

    scale: float
    quality: int
    snr_db: float
    band_hz: int
    level_db: float


def draw_wear(seed: int) -> Wear:
    rng = np.random.default_rng(seed)
    return Wear(
        scale=float(rng.uniform(0.35, 1.0)),
        quality=int(rng.integers(25, 81)),
        snr_db=float(rng.uniform(5, 35)),
        band_hz=int(rng.choice(BANDS_HZ)),
        level_db=float(rng.uniform(-42, -16)),
    )


@dataclass(frozen=True)
class Worn:
    """The file at `path`, worn. A source (see `monitor.sources`)."""

    path: Path
    seed: int

    async def run(self, out: Channel[MediaItem]) -> None:
        """Raises SourceError when the file cannot be read."""
        everything = await items_of(self.path)
        chunks = [item for item in everything if isinstance(item, AudioChunk)]
        wear = draw_wear(self.seed)
        sound = worn_sound(np.concatenate([chunk.samples for chunk in chunks]), wear, self.seed) if chunks else np.zeros(0, np.float32)
        for item in everything:
            if isinstance(item, VideoFrame):
                await out.put(VideoFrame(item.time_s, Pixels(worn_picture(item.rgb, wear)), item.concealed))
            elif isinstance(item, AudioChunk):
                samples, sound = sound[: len(item.samples)], sound[len(item.samples) :]
                await out.put(AudioChunk(item.time_s, samples))
            else:
                await out.put(item)


def worn_picture(rgb: NDArray[np.uint8], wear: Wear) -> NDArray[np.uint8]:
    """Smaller, and through JPEG; uint8 [height × scale, width × scale, 3]."""
    small = cv2.resize(rgb, None, fx=wear.scale, fy=wear.scale, interpolation=cv2.INTER_AREA)
    pressed = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, wear.quality])[1]
    opened = cv2.imdecode(pressed, cv2.IMREAD_COLOR)
    assert opened is not None
    return np.asarray(opened[:, :, ::-1], np.uint8)


def worn_sound(samples: Floats, wear: Wear, seed: int) -> Floats:
    """Band-limited, with white noise, at another level; float32 [n], −1..1."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / AUDIO_RATE_HZ) > wear.band_hz] = 0
    narrow = np.fft.irfft(spectrum, len(samples))
    power = float(np.sqrt(np.mean(narrow**2))) + 1e-9
    noisy = narrow + np.random.default_rng(seed).normal(0, power * 10 ** (-wear.snr_db / 20), len(samples))
    return np.clip(noisy * (10 ** (wear.level_db / 20) / power), -1, 1).astype(np.float32)

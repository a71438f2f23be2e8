"""Speech features: the only copy, used in calls and in training alike. Loudness is removed by a fixed RMS."""

from functools import lru_cache

import cv2  # its Fourier transform of many short rows takes a tenth of numpy's time
import numpy as np
from numpy.typing import NDArray

from monitor.media import AUDIO_RATE_HZ

RMS = 0.05  # every window is scaled to this level, so that loudness cannot decide
HOP = 160  # 10 ms
FFT = 512
LOG_FLOOR = 1e-5
MEL_BANDS = 64
VOICE_S = 2.4  # of speech, for the voice net
Floats = NDArray[np.float32]


def fixed_rms(samples: Floats, speech: NDArray[np.bool_] | None = None) -> Floats:
    """Scale to RMS 0.05, measured over the 20 ms frames marked in `speech` (bool [m]) or over everything."""
    heard = samples
    if speech is not None and speech.any():
        mask = np.repeat(speech, AUDIO_RATE_HZ // 50)[: len(samples)]
        heard = samples[: len(mask)][mask]
    level = float(np.sqrt(np.mean(np.square(heard, dtype=np.float64)))) if len(heard) else 0.0
    return (samples * (RMS / max(level, 1e-5))).astype(np.float32)


def spectrogram(samples: Floats) -> Floats:
    """Power spectrogram, float32 [frames, 257]: 25 ms Hann windows every 10 ms, frames = len(samples) // 160 (edges padded with zeros)."""
    frames = len(samples) // HOP
    if not frames:
        return np.zeros((0, FFT // 2 + 1), np.float32)
    padded = np.pad(samples, (120, 400)).astype(np.float32)
    cuts = np.zeros((frames, FFT), np.float32)
    np.multiply(np.lib.stride_tricks.sliding_window_view(padded, 400)[::HOP][:frames], _hann(), out=cuts[:, :400])
    squares = np.square(cv2.dft(cuts, flags=cv2.DFT_ROWS), dtype=np.float32)  # a row: real 0, real 1, imaginary 1, …, real 256
    power = np.empty((frames, FFT // 2 + 1), np.float32)
    power[:, [0, -1]] = squares[:, [0, -1]]
    np.add(squares[:, 1:-1:2], squares[:, 2:-1:2], out=power[:, 1:-1])
    return power


def log_spectrum(samples: Floats) -> Floats:
    """Log power on a linear frequency axis, float32 [frames, 256] (0–8 kHz, without the last bin), about −11…+8. For the voice net."""
    spectrum: Floats = np.log(spectrogram(samples)[:, :256] + np.float32(LOG_FLOOR))
    return spectrum


def log_mel(samples: Floats) -> Floats:
    """Log mel energies, float32 [frames, 64], 60–7,600 Hz, 100 frames a second. For the lip–voice net."""
    bands: Floats = np.log(spectrogram(samples) @ _mel_filters() + np.float32(LOG_FLOOR))
    return bands


@lru_cache(maxsize=1)
def _hann() -> Floats:
    return np.hanning(402)[1:-1].astype(np.float32)


@lru_cache(maxsize=1)
def _mel_filters() -> Floats:
    """Triangular filters, float32 [257, 64], on the HTK mel scale."""
    mel = np.linspace(_to_mel(60.0), _to_mel(7600.0), MEL_BANDS + 2)
    edges_hz = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    bins_hz = np.linspace(0.0, AUDIO_RATE_HZ / 2, FFT // 2 + 1)[:, None]
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def _to_mel(hz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hz / 700.0))


def voice_samples(samples: Floats, speech: NDArray[np.bool_]) -> Floats:
    """What the voice net hears of a stretch of sound: float32 [38,400], 2.4 s.

    From the first to the last speech mark (bool [m], one per 20 ms), so that silence around it cannot decide; repeated when
    shorter, cut when longer; at fixed RMS.
    """
    return fixed_rms(np.resize(_spoken(samples, speech), round(VOICE_S * AUDIO_RATE_HZ)))


def last_voice(samples: Floats, speech: NDArray[np.bool_]) -> Floats:
    """Half of the same, float32 [19,200], that ends where speech ends: what was said last, which an earlier window had not heard."""
    whole = np.resize(_spoken(samples, speech)[::-1], round(VOICE_S * AUDIO_RATE_HZ))[::-1]
    return fixed_rms(whole)[len(whole) // 2 :]


def _spoken(samples: Floats, speech: NDArray[np.bool_]) -> Floats:
    marked = np.flatnonzero(speech)
    step = AUDIO_RATE_HZ // 50
    return samples[marked[0] * step : (marked[-1] + 1) * step] if len(marked) else samples

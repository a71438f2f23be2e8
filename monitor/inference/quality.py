"""How good the picture and the sound are that a window was judged on, by name: calibration trusts poor ones less. Pure numpy.

face_px         shorter side of the face in pixels of the picture
face_sharpness  spread of the Laplacian over the spread of the gray values of the face crop; soft, upscaled and hard-pressed faces are low
snr_db          power of speech over that of the quietest tenth of the window
rolloff_hz      below this lie 99 % of the power above 300 Hz: telephone 3,400, a good microphone 7,000
speech_s        seconds of speech in the window
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.faces.quality import spread
from monitor.media import AUDIO_RATE_HZ, FaceView, Window

STEP = AUDIO_RATE_HZ // 50
BIN_HZ = AUDIO_RATE_HZ / 512
LOWEST_BIN = round(300 / BIN_HZ)  # hum and rumble say nothing about the band
QUIETEST = 1e-5  # −100 dBFS: digital silence has no finite ratio to it


def face_quality(views: Sequence[FaceView]) -> dict[str, float]:
    """Means over the looked-at views of one face; empty without a crop."""
    crops = [view.face_rgb for view in views if view.face_rgb is not None]
    if not crops:
        return {}
    grays = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops[:: max(1, len(crops) // 2)]]
    sharpness = [spread(cv2.Laplacian(gray, cv2.CV_16S)) / max(spread(gray), 1.0) for gray in grays]
    return {
        "face_px": float(np.mean([view.side_px for view in views])),
        "face_sharpness": float(np.mean(sharpness)),
    }


def voice_quality(window: Window, log_spectrum: NDArray[np.float32]) -> dict[str, float]:
    """Of a window with speech; `log_spectrum` float32 [1, frames, 256] as the voice net takes it."""
    assert window.samples is not None
    steps = min(len(window.speech), len(window.samples) // STEP)
    power = np.mean(np.square(window.samples[: steps * STEP].reshape(steps, STEP), dtype=np.float64), axis=1)
    spoken = float(power[window.speech[:steps]].mean())
    quiet = float(np.sort(power)[: max(1, steps // 10)].mean())
    spectrum = np.exp(log_spectrum[0, :, LOWEST_BIN:]).mean(0)
    reached = np.cumsum(spectrum) >= 0.99 * float(spectrum.sum())
    return {
        "snr_db": 10 * float(np.log10(max(spoken, QUIETEST**2) / max(quiet, QUIETEST**2))),
        "rolloff_hz": float((LOWEST_BIN + int(reached.argmax()) + 1) * BIN_HZ),
        "speech_s": float(window.speech.sum()) * 0.02,
    }

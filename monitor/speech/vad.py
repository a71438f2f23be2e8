"""Which 20 ms hold speech, by WebRTC's voice activity detector, made independent of loudness."""

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from monitor.media import AUDIO_RATE_HZ

STEP_S = 0.02
STEP = int(AUDIO_RATE_HZ * STEP_S)
SILENCE_RMS = 10 ** (-60 / 20)  # below −60 dBFS nothing is amplified into "speech"
TARGET_RMS = 0.1
AGGRESSIVENESS = 3  # webrtcvad's strictest: music and hum are the costlier mistake
FILL_STEPS = 12  # pauses up to 0.24 s belong to the speech around them
MIN_STEPS = 5  # bursts under 0.1 s are clicks
MIN_SPREAD_DB = 4.0  # syllables rise and fall; webrtcvad alone calls steady noise speech (measured: all of white noise at −26 dBFS)


def speech_marks(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True for each 20 ms of `samples` (float32, 16 kHz) that holds speech; bool [len(samples) // 320].

    Depends on nothing but these samples, so the same seconds get the same marks live and from a file.
    """
    steps = len(samples) // STEP
    if steps == 0:
        return np.zeros(0, np.bool_)
    frames = samples[: steps * STEP].reshape(steps, STEP)
    energy = np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1))
    level = float(np.sqrt(np.mean(np.square(energy[energy >= np.percentile(energy, 60)]))))
    rises = np.diff(samples[: steps * STEP], prepend=samples[:1]).reshape(steps, STEP)  # without rumble, which wanders as syllables do
    low, high = np.percentile(np.sqrt(np.mean(np.square(rises, dtype=np.float64), axis=1)), (10, 95))
    if level < SILENCE_RMS or high < low * 10 ** (MIN_SPREAD_DB / 20):
        return np.zeros(steps, np.bool_)
    pcm = np.clip(frames * (TARGET_RMS / level) * 32767, -32768, 32767).astype(np.int16)
    vad = webrtcvad.Vad(AGGRESSIVENESS)
    heard = np.array([vad.is_speech(frame.tobytes(), AUDIO_RATE_HZ) for frame in pcm])
    return _without_runs(~_without_runs(~heard, FILL_STEPS), MIN_STEPS)


def _without_runs(marks: NDArray[np.bool_], shorter_than: int) -> NDArray[np.bool_]:
    """`marks` without runs of True shorter than this; runs that touch an edge stay."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marks.astype(np.int8), [0]])))
    kept = marks.copy()
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - start < shorter_than and start > 0 and stop < len(marks):
            kept[start:stop] = False
    return kept

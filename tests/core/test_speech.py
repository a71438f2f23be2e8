"""Speech marks and features: loudness must not decide."""

import numpy as np
import pytest

from monitor.speech.features import RMS, fixed_rms, log_mel, log_spectrum, voice_samples
from monitor.speech.vad import speech_marks

RATE = 16_000


def voiced(seconds: float, seed: int = 0) -> np.ndarray:
    """Something webrtcvad takes for speech: a buzz with moving formants and syllables."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE)) / RATE
    pitch = 120 + 15 * np.sin(2 * np.pi * 2.1 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = np.zeros_like(time_s)
    for harmonic in range(1, 30):
        hz = harmonic * pitch
        formants = sum(np.exp(-(((hz - centre) / 120) ** 2)) for centre in (600 + 200 * np.sin(9 * time_s), 1500, 2500))
        sound += formants * np.sin(harmonic * phase)
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s)
    return (0.1 * sound * syllables + 0.0005 * rng.normal(size=len(time_s))).astype(np.float32)


def test_speech_between_silence_is_marked_and_silence_is_not() -> None:
    quiet = np.random.default_rng(0).normal(0, 1e-4, RATE).astype(np.float32)
    marks = speech_marks(np.concatenate([quiet, voiced(2.0), quiet]))
    assert marks.shape == (200,)
    assert marks[55:145].mean() > 0.9
    assert marks[:45].mean() < 0.1
    assert marks[-30:].mean() < 0.1


@pytest.mark.parametrize("level_dbfs", [-42, -30, -16])
def test_marks_do_not_depend_on_loudness(level_dbfs: int) -> None:
    sound = np.concatenate([voiced(1.5), np.zeros(8000, np.float32)])
    gained = (sound * 10 ** (level_dbfs / 20) / np.sqrt(np.mean(sound[:24000] ** 2))).astype(np.float32)
    assert (speech_marks(gained) == speech_marks(sound)).mean() > 0.97


@pytest.mark.parametrize("samples", [np.zeros(38400), np.zeros(10), np.zeros(0)])
def test_nothing_is_no_speech(samples: np.ndarray) -> None:
    assert not speech_marks(samples.astype(np.float32)).any()


def test_steady_noise_is_not_speech() -> None:
    noise = np.random.default_rng(2).normal(0, 0.05, 2 * RATE).astype(np.float32)
    assert speech_marks(noise).mean() < 0.2


def test_the_rumble_of_a_room_is_not_speech() -> None:
    white = np.fft.rfft(np.random.default_rng(3).normal(size=4 * RATE))
    rumble = np.fft.irfft(white / np.maximum(np.fft.rfftfreq(4 * RATE, 1 / RATE), 80.0))
    rumble = (rumble * (0.01 / rumble.std())).astype(np.float32)
    assert not any(speech_marks(rumble[start : start + 38_400]).any() for start in range(0, len(rumble) - 38_400, 6_400))


def test_fixed_rms_measures_speech_only() -> None:
    sound = np.concatenate([voiced(1.0), np.zeros(RATE, np.float32)])
    marks = np.repeat([True, False], 50)
    scaled = fixed_rms(sound, marks)
    assert np.sqrt(np.mean(scaled[:RATE] ** 2)) == pytest.approx(RMS, rel=1e-3)
    assert np.isfinite(fixed_rms(np.zeros(100, np.float32))).all()


def test_features_have_a_frame_every_10_ms_and_put_a_tone_in_its_place() -> None:
    tone = np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE).astype(np.float32)
    spectrum, mel = log_spectrum(tone), log_mel(tone)
    assert (spectrum.shape, mel.shape) == ((100, 256), (100, 64))
    assert spectrum.dtype == mel.dtype == np.float32
    assert spectrum[50].argmax() == 64
    assert np.allclose(log_spectrum(tone[:8000])[5:40], spectrum[5:40], atol=1e-5), "a frame depends on its own 25 ms only"


def test_what_the_voice_net_hears_cuts_silence_repeats_short_speech_and_forgets_loudness() -> None:
    sound = np.concatenate([np.zeros(8000, np.float32), voiced(1.0), np.zeros(8000, np.float32)])
    marks = np.array([False] * 25 + [True] * 50 + [False] * 25)
    features = log_spectrum(voice_samples(sound, marks))
    assert features.shape == (240, 256)
    assert np.allclose(features, log_spectrum(voice_samples(0.01 * sound, marks)), atol=1e-2)
    assert np.allclose(features[10:90], features[110:190], atol=0.6), "the second repetition is the first"

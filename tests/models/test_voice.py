"""The shipped voice net keeps its contract."""

import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import onnxruntime
import pytest

import monitor
from export.onnx_files import open_onnx
from monitor.inference.card import read_card
from monitor.speech.features import fixed_rms, log_spectrum

PATH = Path(monitor.__file__).parents[1] / "exported_models" / "voice_forgery.onnx"


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return open_onnx(PATH)


def logits(session: onnxruntime.InferenceSession, clips: list[np.ndarray], of: str = "logit") -> np.ndarray:
    samples = np.stack([fixed_rms(clip.astype(np.float32)) for clip in clips])
    spectra = np.stack([log_spectrum(clip) for clip in samples])
    return session.run([of], {"log_spectrum": spectra, "samples": samples})[0]


def babble(seed: int, seconds: float = 2.4) -> np.ndarray:
    """A buzzing, syllable-like sound with formants: speech enough for a spectrum."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * 16_000)) / 16_000
    pitch_hz = 120 + 30 * np.sin(2 * np.pi * 0.7 * time_s + seed)
    voiced = sum(np.sin(k * 2 * np.pi * np.cumsum(pitch_hz) / 16_000) / k for k in range(1, 25))
    return voiced * (0.55 + 0.45 * np.sin(2 * np.pi * 3.5 * time_s)) * 0.05 + rng.normal(0, 0.002, len(time_s))


def test_the_card_describes_the_file(session: onnxruntime.InferenceSession):
    card = read_card(PATH)
    assert card.task == "voice_forgery"
    assert card.parity_max_abs <= 1e-4
    assert [(port.name, port.shape) for port in card.inputs] == [("log_spectrum", (-1, -1, 256)), ("samples", (-1, -1))]
    assert [port.name for port in card.outputs] == [output.name for output in session.get_outputs()] == ["logit", "local_logits"]
    assert "research" in card.trained_on
    assert {"held", "copies", "splices", "devset", "elsewhere", "steadiness"} <= card.numbers.keys()
    assert card.numbers["devset"]["auc"] > 0.9
    assert card.numbers["splices"]["auc_of_steps"] > 0.6


def test_a_batch_gives_what_single_clips_give(session: onnxruntime.InferenceSession):
    clips = [babble(seed) for seed in range(4)]
    together = logits(session, clips)
    assert together.shape == (4,)
    alone = np.concatenate([logits(session, [clip]) for clip in clips])
    assert np.abs(together - alone).max() < 1e-4


@pytest.mark.parametrize("seconds", [0.8, 1.2, 2.4, 5.0])
def test_any_length_from_80_frames_on(session: onnxruntime.InferenceSession, seconds: float):
    assert np.isfinite(logits(session, [babble(1, seconds)])).all()


@pytest.mark.parametrize(("seconds", "steps"), [(0.8, 5), (1.2, 8), (2.4, 15), (5.0, 32)])
def test_a_local_logit_for_every_0_16_seconds(session: onnxruntime.InferenceSession, seconds: float, steps: int):
    local = logits(session, [babble(3, seconds)] * 2, "local_logits")
    assert local.shape == (2, steps)
    assert np.isfinite(local).all()


def test_local_logits_hear_what_is_near_them(session: onnxruntime.InferenceSession):
    """Another sound in the last second moves the steps there more than those of the first second."""
    clip, other = babble(4), babble(5)
    other[: len(other) * 7 // 12] = clip[: len(clip) * 7 // 12]
    moved = np.abs(np.diff(logits(session, [clip, other], "local_logits"), axis=0))[0]
    assert moved[-4:].mean() > 3 * moved[:4].mean()


def test_the_encoder_hears_the_last_half_and_moves_the_logit_alone(session: onnxruntime.InferenceSession):
    samples = fixed_rms(babble(6).astype(np.float32))[None]
    early, late = samples.copy(), samples.copy()
    early[:, :19_200] = babble(5)[:19_200]
    late[:, 19_200:] = babble(5)[19_200:]
    spectra = log_spectrum(samples[0])[None]
    base, first, last = (session.run(None, {"log_spectrum": spectra, "samples": heard}) for heard in (samples, early, late))
    assert first[0] == pytest.approx(base[0], abs=1e-4)
    assert abs(last[0] - base[0]) > 1e-2
    assert np.array_equal(last[1], base[1])


def test_loudness_does_not_decide(session: onnxruntime.InferenceSession):
    clip = babble(2)
    base = logits(session, [clip])[0]
    for gain_db in (-22, -10, 6):
        assert abs(logits(session, [clip * 10 ** (gain_db / 20)])[0] - base) < 1e-2


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(38_400),
        np.random.default_rng(0).normal(0, 0.1, 38_400),
        np.ones(38_400),
        np.sign(np.sin(np.arange(38_400) / 3)),
        np.eye(1, 38_400, 9000)[0],
    ],
    ids=["silence", "noise", "constant", "square wave", "click"],
)
def test_what_is_no_speech_gives_a_finite_number(session: onnxruntime.InferenceSession, sound: np.ndarray):
    assert np.isfinite(logits(session, [sound])).all()


def spoken_by_espeak(text: str, out: Path) -> np.ndarray:
    subprocess.run(["espeak-ng", "-v", "en-gb", "-s", "160", "-w", str(out), text], check=True)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
    with av.open(str(out)) as container:
        pieces = [piece.to_ndarray()[0] for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
    return np.concatenate(pieces)[1600 : 1600 + 32_000]


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed (apt-get install espeak-ng)")
def test_a_plain_synthesiser_scores_above_noise(session: onnxruntime.InferenceSession, tmp_path: Path):
    texts = ("The morning train was late again and nobody knew why.", "Please send the signed letter before the end of June.")
    spoken = logits(session, [spoken_by_espeak(text, tmp_path / f"{index}.wav") for index, text in enumerate(texts)])
    rng = np.random.default_rng(0)
    noise = logits(session, [np.cumsum(rng.normal(0, 1, 32_000)) * 1e-3 * np.hanning(32_000) for _ in range(4)])
    assert spoken.mean() > noise.mean()

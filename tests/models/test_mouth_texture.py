"""The shipped model of the mouth's texture over time, and which mouths it is given."""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from export.onnx_files import open_onnx
from monitor.inference.card import read_card
from monitor.inference.inputs import lip_motion, shows_texture

MODEL = Path(__file__).parents[2] / "exported_models" / "mouth_texture.onnx"


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return open_onnx(MODEL)


def talking(seed: int, steps: int = 60, grain: float = 4.0) -> np.ndarray:
    """Lips that open and close over a skin with detail of its own, and a camera's grain: float32 [steps, 64, 64], 0..255."""
    rng = np.random.default_rng(seed)
    skin = cv2.GaussianBlur(rng.normal(140, 25, (80, 80)).astype(np.float32), (0, 0), 0.8)
    pictures = []
    for step in range(steps):
        shift = 4 + 2 * np.sin(step / 5 + seed)
        moved = cv2.warpAffine(skin, np.float32([[1, 0, -8], [0, 1, -4 - shift]]), (64, 64))
        cv2.ellipse(moved, (32, 34), (12, int(3 + 3 * abs(np.sin(step / 3)))), 0, 0, 360, 60.0, -1)
        pictures.append(moved + rng.normal(0, grain, (64, 64)))
    return np.clip(np.stack(pictures), 30, 220).astype(np.float32)


def logits(session: onnxruntime.InferenceSession, *clips: np.ndarray) -> np.ndarray:
    return session.run(["logit"], {"mouths": np.stack(clips)})[0]


def test_the_card_describes_the_file_and_what_it_is_worth():
    card = read_card(MODEL)
    assert card.task == "mouth_texture"
    assert card.parity_max_abs <= 1e-4
    assert [(port.name, port.shape) for port in card.inputs] == [("mouths", (-1, -1, 64, 64))]
    assert card.numbers["folds"]["matched"] > 0.6
    assert len(card.numbers["folds"]["matched_by_fold"]) == 4


def test_a_batch_gives_what_single_clips_give(session):
    clips = [talking(seed) for seed in range(4)]
    np.testing.assert_allclose(logits(session, *clips), np.concatenate([logits(session, clip) for clip in clips]), atol=1e-4)


@pytest.mark.parametrize("seed", range(1, 4))
def test_light_hardly_moves_the_score_and_lips_made_anew_do(session, seed):
    clip = talking(seed)
    plain = logits(session, clip)[0]
    darker = logits(session, (clip - 128) * 0.7 + 100)[0]
    sticking, averaged = clip.copy(), clip.copy()
    sticking[:, 26:43, 17:47] += np.random.default_rng(5).normal(0, 10, (1, 17, 30)).astype(np.float32)
    for lips in averaged[:, 26:43, 17:47]:
        lips[:] = cv2.GaussianBlur(lips, (0, 0), 1.2)
    assert abs(darker - plain) < 0.02
    assert logits(session, sticking)[0] > plain + 0.3, "detail that stays where it is while the lips move"
    assert logits(session, averaged)[0] > plain + 1.0, "detail that is gone from the lips alone"


@pytest.mark.parametrize("steps", [20, 33, 72])
def test_any_length(session, steps):
    assert np.isfinite(logits(session, talking(2, steps))).all()


@pytest.mark.parametrize("mouths", [np.zeros((1, 20, 64, 64)), np.full((1, 60, 64, 64), 255.0)])
def test_finite_on_flat_pictures(session, mouths):
    assert np.isfinite(session.run(None, {"mouths": mouths.astype(np.float32)})[0]).all()


def test_repeated_or_few_pictures_are_not_judged():
    clip = talking(3)
    assert shows_texture(clip)
    assert shows_texture(np.repeat(clip[:58], [2 if step % 24 == 0 else 1 for step in range(58)], axis=0)), "24 pictures a second will do"
    assert not shows_texture(np.repeat(clip[::2], 2, axis=0)), "12 a second will not"
    assert not shows_texture(np.repeat(clip[:1], 60, axis=0)), "nor will a frozen one"
    assert not shows_texture(clip[:19])


def test_a_photograph_that_a_codec_sends_again_and_again_is_not_judged():
    clip, rng = talking(4, grain=0.0), np.random.default_rng(4)
    still = clip[:1] + rng.normal(0, 0.4, clip.shape).astype(np.float32)
    assert not shows_texture(still)
    assert not shows_texture(np.clip(still, 0, 255).astype(np.uint8))
    assert shows_texture(clip), "the same lips, talking"
    assert lip_motion(clip) == pytest.approx(lip_motion(clip.astype(np.uint8)), rel=0.1)

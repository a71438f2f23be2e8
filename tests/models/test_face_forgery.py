"""The shipped face net, by ONNX Runtime alone: shapes, batches, odd input, and that brightness and contrast do not decide."""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from export.onnx_files import open_onnx
from monitor.inference.card import read_card

MODEL = Path(__file__).parents[2] / "exported_models" / "face_forgery.onnx"


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return open_onnx(MODEL)


def faces(count: int) -> np.ndarray:
    """Smooth pictures with texture, mid brightness, so that a change of contrast clips nothing."""
    rng = np.random.default_rng(3)
    coarse = [
        cv2.resize(rng.uniform(70, 180, (9, 9, 3)).astype(np.float32), (128, 128), interpolation=cv2.INTER_LINEAR) for _ in range(count)
    ]
    return (np.stack(coarse) + rng.normal(0, 3, (count, 128, 128, 3))).transpose(0, 3, 1, 2).astype(np.float32)


def judge(session: onnxruntime.InferenceSession, crops: np.ndarray, earlier: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    logit, cells = session.run(["logit", "map_logits"], {"face": crops, "earlier": crops if earlier is None else earlier})
    return logit, cells


def test_card_matches_the_file_and_parity_holds():
    card = read_card(MODEL)
    assert card.task == "face_forgery"
    assert card.parity_max_abs <= 1e-4
    assert {tensor.name: tensor.shape for tensor in card.inputs} == dict.fromkeys(("face", "earlier"), (-1, 3, 128, 128))
    assert [o.name for o in card.outputs] == ["logit", "map_logits"]
    assert {"held_out_wild", "devset", "map_cells"} <= card.numbers.keys()


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_shapes(session, batch):
    logit, cells = judge(session, faces(batch))
    assert logit.shape == (batch,)
    assert cells.shape == (batch, 16, 16)
    assert logit.dtype == cells.dtype == np.float32


def test_a_batch_gives_what_single_crops_give(session):
    crops = faces(4)
    logit, cells = judge(session, crops)
    for index in range(4):
        alone = judge(session, crops[index : index + 1])
        np.testing.assert_allclose(logit[index], alone[0][0], atol=1e-4)
        np.testing.assert_allclose(cells[index], alone[1][0], atol=1e-4)


@pytest.mark.parametrize("crop", ["black", "white", "noise", "one bright pixel"])
def test_finite_on_anything(session, crop):
    made = {
        "black": np.zeros((1, 3, 128, 128), np.float32),
        "white": np.full((1, 3, 128, 128), 255, np.float32),
        "noise": np.random.default_rng(0).uniform(0, 255, (1, 3, 128, 128)).astype(np.float32),
        "one bright pixel": np.zeros((1, 3, 128, 128), np.float32),
    }[crop]
    if crop == "one bright pixel":
        made[0, :, 64, 64] = 255
    logit, cells = judge(session, made)
    assert np.isfinite(logit).all()
    assert np.isfinite(cells).all()


def test_brightness_contrast_and_colour_cast_hardly_move_the_score(session):
    crops = faces(6)
    plain = judge(session, crops)[0]
    cast = np.array([10, -8, 5], np.float32)[None, :, None, None]
    for changed in (crops + 30, crops * 0.7, crops * 1.2 - 20, crops + cast):
        assert np.abs(judge(session, changed)[0] - plain).max() < 0.05 + 0.05 * np.abs(plain).max()


def test_what_flickers_is_seen_and_its_place_in_the_batch_kept(session):
    crops = faces(3)
    flicker = crops + np.random.default_rng(5).normal(0, 4, crops.shape).astype(np.float32)
    still, lively = judge(session, crops)[0], judge(session, crops, flicker)[0]
    assert np.abs(still - lively).min() > 1e-3
    mixed = judge(session, crops, np.concatenate([crops[:1], flicker[1:]]))[0]
    np.testing.assert_allclose(mixed, [still[0], lively[1], lively[2]], atol=1e-4)

"""The shipped lip–voice net keeps its contract."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import monitor
from export.onnx_files import open_onnx
from monitor.inference.card import read_card

PATH = Path(monitor.__file__).parents[1] / "exported_models" / "audio_visual.onnx"
OUTPUTS = ["logits", "count_logits", "lip_embedding", "voice_embedding", "frame_logits"]
Inputs = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return open_onnx(PATH)


def run(session: onnxruntime.InferenceSession, inputs: Inputs) -> dict[str, np.ndarray]:
    return dict(zip(OUTPUTS, session.run(OUTPUTS, inputs), strict=True))


def clip(seed: int, batch: int = 1, steps: int = 60, video: float = 1.0, audio: float = 1.0) -> Inputs:
    rng = np.random.default_rng(seed)
    return {
        "mouths": rng.uniform(0, 255, (batch, steps, 64, 64)).astype(np.float32),
        "log_mel": rng.normal(-3, 3, (batch, 4 * steps, 64)).astype(np.float32),
        "has_video": np.full(batch, video, np.float32),
        "has_audio": np.full(batch, audio, np.float32),
    }


def test_the_card_describes_the_file(session: onnxruntime.InferenceSession):
    card = read_card(PATH)
    assert card.task == "audio_visual"
    assert card.parity_max_abs <= 1e-4
    assert [port.name for port in card.inputs] == [port.name for port in session.get_inputs()]
    assert [port.name for port in card.outputs] == [port.name for port in session.get_outputs()] == OUTPUTS
    assert "research" in card.trained_on
    assert {"held", "devset"} <= card.numbers.keys()
    assert card.numbers["devset"]["dub_auc"] > 0.6


@pytest.mark.parametrize("steps", [20, 30, 60, 75])
def test_shapes_and_unit_length(session: onnxruntime.InferenceSession, steps: int):
    out = run(session, clip(0, 2, steps))
    assert out["logits"].shape == (2, 2)
    assert out["count_logits"].shape == (2, 3)
    assert out["frame_logits"].shape == (2, steps, 2)
    for name in ("lip_embedding", "voice_embedding"):
        assert out[name].shape[:2] == (2, steps)
        assert np.abs(np.linalg.norm(out[name], axis=2) - 1).max() < 1e-4


def test_a_batch_gives_what_single_clips_give(session: onnxruntime.InferenceSession):
    three = clip(1, 3)
    three["has_video"][1] = 0
    three["has_audio"][2] = 0
    together = run(session, three)
    for index in range(3):
        alone = run(session, {name: array[index : index + 1] for name, array in three.items()})
        for name in OUTPUTS:
            assert np.abs(together[name][index] - alone[name][0]).max() < 1e-4


def test_a_missing_modality_is_not_looked_at(session: onnxruntime.InferenceSession):
    heard, other = clip(2, video=0.0), clip(3, video=0.0)
    other["log_mel"] = heard["log_mel"]
    assert np.abs(run(session, heard)["logits"] - run(session, other)["logits"]).max() < 1e-5
    seen, silent = clip(4, audio=0.0), clip(5, audio=0.0)
    silent["mouths"] = seen["mouths"]
    assert np.abs(run(session, seen)["logits"] - run(session, silent)["logits"]).max() < 1e-5
    assert np.abs(run(session, seen)["logits"] - run(session, seen | {"has_audio": np.ones(1, np.float32)})["logits"]).max() > 1e-4


def test_labels_are_left_out_where_nobody_asks_for_them(session: onnxruntime.InferenceSession):
    asked, unasked = run(session, clip(9, 2)), run(session, clip(9, 2, video=0.0, audio=0.0))
    for name in ("lip_embedding", "voice_embedding"):
        assert np.array_equal(asked[name], unasked[name])
    for name in ("logits", "count_logits", "frame_logits"):
        assert asked[name].any()
        assert unasked[name].shape == asked[name].shape
        assert not unasked[name].any()
    one = clip(9, 2, video=0.0, audio=0.0)
    one["has_audio"][1] = 1.0
    assert np.abs(run(session, one)["logits"][1] - run(session, clip(9, 2, video=0.0))["logits"][1]).max() < 1e-5


def test_embeddings_are_local(session: onnxruntime.InferenceSession):
    """What happens a second later must not change them, or sliding one over the other would mean nothing."""
    early, later = clip(6), clip(6)
    later["log_mel"][:, 160:] = 0.0
    assert np.abs(run(session, early)["voice_embedding"][:, :20] - run(session, later)["voice_embedding"][:, :20]).max() < 1e-4
    swapped = clip(6)
    swapped["mouths"][:, 40:] = swapped["mouths"][:, 40:][:, ::-1]  # same brightness and contrast over the whole clip
    assert np.abs(run(session, early)["lip_embedding"][:, :20] - run(session, swapped)["lip_embedding"][:, :20]).max() < 1e-3


@pytest.mark.parametrize("value", [0.0, 255.0])
def test_flat_pictures_and_silence_give_finite_numbers(session: onnxruntime.InferenceSession, value: float):
    flat = clip(7)
    flat["mouths"][:] = value
    flat["log_mel"][:] = np.log(1e-5)
    assert all(np.isfinite(array).all() for array in run(session, flat).values())


def test_brightness_and_contrast_of_the_picture_do_not_decide(session: onnxruntime.InferenceSession):
    plain = clip(8)
    darker = plain | {"mouths": plain["mouths"] * 0.6 + 20}
    assert np.abs(run(session, plain)["logits"] - run(session, darker)["logits"]).max() < 1e-2

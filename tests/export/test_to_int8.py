"""Eight bits only where they cost nothing."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("onnx", reason="onnx is not installed (pip install -e .[export])")

from export.to_int8 import answered, compare, is_int8, quality, quantised, spread  # noqa: E402
from export.to_onnx import Port, export_model  # noqa: E402
from tests.export.about import ABOUT  # noqa: E402

RNG = np.random.default_rng(0)


class Net(torch.nn.Module):
    """Two convolutions, one of them in a part whose numbers must stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = torch.nn.Conv2d(3, 8, 3)
        self.backbone = torch.nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return (self.trunk(x).relu() + self.backbone(x).relu()).mean((1, 2, 3))


def pictures(rows: int) -> np.ndarray:
    return RNG.normal(size=(rows, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    ports = [Port("face", ("batch", 3, 16, 16), "anything")], [Port("logit", ("batch",), "a mean")]
    export_model(Net(), "face_forgery", *ports, [(pictures(1),), (pictures(3),)], ABOUT, tmp_path)
    return tmp_path / "face_forgery.onnx"


def test_the_trunk_is_in_eight_bits_and_says_nearly_the_same(exported: Path):
    asked = [[{"face": pictures(2)}] for _ in range(12)]
    assert not is_int8(exported)
    small = quantised(exported, [request for clip in asked for request in clip])
    (before, _), (after, took_ms) = answered(exported.read_bytes(), asked), answered(small, asked)
    assert took_ms > 0
    difference = [float(np.abs(a[0]["logit"] - b[0]["logit"]).max()) for a, b in zip(before, after, strict=True)]
    assert 0 < max(difference) < 0.02
    exported.write_bytes(small)
    assert is_int8(exported)


def test_a_comparison_tells_quality_and_correlation(exported: Path):
    asked = [[{"face": pictures(1)}] for _ in range(10)]
    found = compare(
        exported.read_bytes(), exported.read_bytes(), asked, lambda answers: quality("face_forgery", answers, [True, False] * 5)
    )
    assert found["AUC, float"] == found["AUC, 8 bits"]
    assert found["correlation of logit"] == 1.0


def test_quality_is_that_of_clips_and_skips_what_was_not_judged():
    def clip(*logits: float) -> list[dict[str, np.ndarray]]:
        return [{"logit": np.array([logit], np.float32)} for logit in logits]

    answers = [clip(0.0, 1.0), clip(2.0, -4.0), clip(3.0), clip()]
    assert quality("face_forgery", answers, [False, False, True, False]) == 1.0
    assert quality("face_forgery", answers, [True, False, False, True]) == 0.5


def test_lips_must_fit_their_own_voice_better_than_another():
    talk = [RNG.normal(size=(60, 8)).astype(np.float32) for _ in range(6)]
    in_step = [[{"lip_embedding": each[None], "voice_embedding": each[None]}] for each in talk]
    assert quality("audio_visual", in_step, [False] * 6) == 1.0


def test_spread_takes_evenly():
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread([1, 2], 5) == [1, 2]

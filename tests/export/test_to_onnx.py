"""An export that computes something else than torch, or only one batch size, is refused."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("onnx", reason="onnx is not installed (pip install -e .[export])")

from export.to_onnx import ParityError, Port, check_parity, export_model  # noqa: E402
from monitor.inference.card import read_card  # noqa: E402
from tests.export.about import ABOUT  # noqa: E402

INPUTS = [Port("log_spectrum", ("batch", "frames", 4), "anything")]
OUTPUTS = [Port("logit", ("batch",), "a sum")]
EXAMPLES = [(np.random.default_rng(0).normal(size=shape).astype(np.float32),) for shape in ((1, 6, 4), (3, 9, 4))]


class Sum(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(4.0))

    def forward(self, x):
        return (x * self.weight).sum((1, 2))


class OneShape(Sum):
    def forward(self, x):
        return super().forward(x) + int(x.shape[0])


class Noise(Sum):
    def forward(self, x):
        return super().forward(x) + torch.rand(())


def test_writes_a_file_and_a_card_that_belong_together(tmp_path: Path):
    card = export_model(Sum(), "voice_forgery", INPUTS, OUTPUTS, EXAMPLES, ABOUT, tmp_path)
    assert card.parameters == 4
    assert card.parity_max_abs <= 1e-4
    assert card.inputs[0].shape == (-1, -1, 4)
    assert read_card(tmp_path / "voice_forgery.onnx") == card


@pytest.mark.parametrize("net", [OneShape, Noise])
def test_a_graph_that_differs_from_torch_is_not_written(net, tmp_path: Path):
    with pytest.raises(ParityError):
        export_model(net(), "voice_forgery", INPUTS, OUTPUTS, EXAMPLES, ABOUT, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_batch_size_is_no_proof(tmp_path: Path):
    with pytest.raises(ValueError, match="two batch sizes"):
        export_model(Sum(), "voice_forgery", INPUTS, OUTPUTS, EXAMPLES[:1] * 2, ABOUT, tmp_path)


def test_parity_measures_the_largest_difference(tmp_path: Path):
    export_model(Sum(), "voice_forgery", INPUTS, OUTPUTS, EXAMPLES, ABOUT, tmp_path)
    other = Sum()
    with torch.no_grad():
        other.weight += 0.1
    with pytest.raises(ParityError, match="differ by"):
        check_parity(other, (tmp_path / "voice_forgery.onnx").read_bytes(), INPUTS, EXAMPLES)

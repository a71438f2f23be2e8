"""Packed weights are multiplied as integers, and nearly the same comes out."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
onnx = pytest.importorskip("onnx", reason="onnx is not installed (pip install -e .[export])")

from export.integer_products import with_integer_products  # noqa: E402
from export.onnx_files import open_onnx  # noqa: E402
from export.small_weights import pack, read, rounded  # noqa: E402
from export.to_onnx import Port, export_model  # noqa: E402
from tests.export.about import ABOUT  # noqa: E402

RNG = np.random.default_rng(0)


class Net(torch.nn.Module):
    """Two products on the same input, one of them packed, and one behind a bend."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        drawn = {"up": torch.randn(96, 128), "down": torch.randn(128, 96)}
        self.ear = torch.nn.ParameterDict(rounded(drawn))
        self.beside = torch.nn.Parameter(torch.randn(96, 96) / 10)

    def forward(self, x):
        return (torch.relu(x @ self.ear["up"]) @ self.ear["down"] / 100 + x @ self.beside).mean(1)


def sounds(rows: int) -> np.ndarray:
    return RNG.normal(size=(rows, 12, 96)).astype(np.float32)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    ports = [Port("x", ("batch", 12, 96), "anything")], [Port("y", ("batch", 96), "a mean")]
    card = export_model(Net(), "voice_forgery", *ports, [(sounds(1),), (sounds(3),)], ABOUT, tmp_path)
    path = tmp_path / "voice_forgery.onnx"
    pack(path, card, "ear.", {"x": sounds(2)})
    return path


def test_packed_products_become_integers_and_others_stay(packed: Path):
    asked = [{"x": sounds(2)} for _ in range(8)]
    small = with_integer_products(packed.read_bytes(), asked)
    kinds = [node.op_type for node in onnx.load_from_string(small).graph.node]
    assert (kinds.count("MatMulInteger"), kinds.count("MatMul"), kinds.count("QuantizeLinear")) == (2, 1, 2)
    (packed.parent / "small.onnx").write_bytes(small)
    kept, was = (read(packed.parent / name, "ear.")["up"].numpy() for name in ("small.onnx", packed.name))
    assert np.abs(kept - was).max() <= np.abs(was).max() / 63
    assert len(small) < 1.1 * len(packed.read_bytes()), "weights are stored once"
    before, after = ([open_onnx(model).run(None, each)[0] for each in asked] for model in (packed.read_bytes(), small))
    assert np.corrcoef(np.ravel(before), np.ravel(after))[0, 1] > 0.999
    assert not np.array_equal(before, after)


def test_what_one_row_says_does_not_depend_on_the_others(packed: Path):
    session = open_onnx(with_integer_products(packed.read_bytes(), [{"x": sounds(4)}]))
    quiet, loud = sounds(1), 100 * sounds(1)
    alone, beside = (session.run(None, {"x": x})[0][0] for x in (quiet, np.concatenate([quiet, loud])))
    assert np.allclose(alone, beside, atol=1e-5)

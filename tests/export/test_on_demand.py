"""What is asked for is there, what is not asked for costs nothing."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
onnx = pytest.importorskip("onnx", reason="onnx is not installed (pip install -e .[export])")

from pathlib import Path  # noqa: E402

from export.on_demand import on_demand  # noqa: E402
from export.onnx_files import open_onnx  # noqa: E402
from export.to_onnx import Port, export_model  # noqa: E402
from tests.export.about import ABOUT  # noqa: E402

OUTPUTS = ["steps", "label", "by_step"]
RNG = np.random.default_rng(0)


class Net(torch.nn.Module):
    """Embeddings of steps, and labels that also depend on a flag."""

    def __init__(self, flag_everywhere: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.judge = torch.nn.Linear(8, 6), torch.nn.Linear(6, 2)
        self.flag_everywhere = flag_everywhere

    def forward(self, x, has):
        steps = self.trunk(x).tanh() * (has[:, None, None] if self.flag_everywhere else 1.0)
        by_step = self.judge(steps) + has[:, None, None]
        return steps, by_step.mean(1), by_step


def exported(net: torch.nn.Module, folder: Path) -> bytes:
    inputs = [Port("x", ("batch", "steps", 8), "anything"), Port("has", ("batch",), "1 or 0")]
    outputs = [Port("steps", ("batch", "steps", 6), "a"), Port("label", ("batch", 2), "b"), Port("by_step", ("batch", "steps", 2), "c")]
    export_model(net, "audio_visual", inputs, outputs, [asking(1, 5), asking(3, 7)], ABOUT, folder)
    return (folder / "audio_visual.onnx").read_bytes()


def asking(rows: int, steps: int, has: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    return RNG.normal(size=(rows, steps, 8)).astype(np.float32), np.full(rows, has, np.float32)


def run(model: bytes, x: np.ndarray, has: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(OUTPUTS, open_onnx(model).run(OUTPUTS, {"x": x, "has": has}), strict=True))


@pytest.mark.parametrize(("rows", "steps"), [(1, 5), (4, 9)])
def test_labels_are_there_when_a_row_asks_and_zeros_when_none_does(rows: int, steps: int, tmp_path: Path):
    before = exported(Net(), tmp_path)
    after = on_demand(before, ["steps"], ["has"])
    x, has = asking(rows, steps)
    has[1:] = 0.0
    for name, expected in run(before, x, has).items():
        assert np.abs(run(after, x, has)[name] - expected).max() < 1e-6
    unasked = run(after, x, np.zeros_like(has))
    assert np.array_equal(unasked["steps"], run(before, x, has)["steps"])
    assert {name: unasked[name].shape for name in ("label", "by_step")} == {"label": (rows, 2), "by_step": (rows, steps, 2)}
    assert not any(unasked[name].any() for name in ("label", "by_step"))


def test_what_is_always_there_must_not_depend_on_the_flags(tmp_path: Path):
    with pytest.raises(ValueError, match="flags"):
        on_demand(exported(Net(flag_everywhere=True), tmp_path), ["steps"], ["has"])

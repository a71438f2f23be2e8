"""What a second of a call costs, counted and not timed, so that a busy machine cannot fail it. Times: python -m export.cost."""

import wave
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from export.cost import main

onnx = pytest.importorskip("onnx", reason="onnx is not installed (pip install -e .[export])")

MODELS = Path(__file__).parents[2] / "exported_models"
ONE = {"has_video": [1], "has_audio": [1]}
ASKED: dict[str, list[tuple[float, dict[str, list[int]]]]] = {  # how often a second, and what, for one moving face in a 16:9 picture
    "face_detector": [(1 / 2.4, {"input": [1, 3, 192, 320]}), (5.0, {"input": [1, 3, 128, 128]})],
    "face_forgery": [(1 / 1.2, {"face": [1, 3, 128, 128], "earlier": [1, 3, 128, 128]})],
    "voice_forgery": [(1 / 1.2, {"log_spectrum": [1, 120, 256], "samples": [1, 38_400]})],
    "audio_visual": [(1 / 2.4, {"mouths": [1, 60, 64, 64], "log_mel": [1, 240, 64], **ONE})],
}
MOST_MILLIONS = {"face_detector": 85, "face_forgery": 166, "voice_forgery": 339, "audio_visual": 120}
"""A third more than was needed when this was written: 63, 125, 254 (of them 159 of the recogniser's matrices) and 90 (without labels)."""
WEIGHT_AT = {"QLinearConv": 3, "QLinearMatMul": 3}  # else the second input
MATRICES = ("MatMul", "MatMulInteger", "QLinearMatMul")
COUNTED = ("Conv", "QLinearConv", "ConvTranspose", "Gemm", *MATRICES)


def millions_of_products(model: Path, shapes: dict[str, list[int]]) -> float:
    """Multiplications of all convolutions and matrix products, by the shapes that ONNX Runtime really meets."""
    graph = onnx.load(model).graph
    products = [node for node in graph.node if node.op_type in COUNTED]
    asked = {name for node in products for name in (*node.input, *node.output)}
    known = {each.name: list(each.dims) for each in graph.initializer}
    known |= _met(model, [name for name in asked if name and name not in known], shapes)
    return sum(_products(node, known) for node in products) / 1e6


def _met(model: Path, names: list[str], shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """Shapes of the tensors `names` in a run on zeros; whatever ONNX Runtime would fuse is left as it is."""
    extended = onnx.load(model)
    inputs = {each.name for each in extended.graph.input}
    wanted = [name for name in names if name not in inputs]
    have = {each.name for each in extended.graph.output}
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in have)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(extended.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(wanted, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    return shapes | {name: list(array.shape) for name, array in zip(wanted, found, strict=True)}


def _products(node: Any, known: dict[str, list[int]]) -> int:
    weight = known[node.input[WEIGHT_AT.get(node.op_type, 1)]]
    out = prod(known[node.output[0]])
    if node.op_type in MATRICES:
        return out * weight[-2] if len(weight) > 1 else out
    return out * prod(weight[1:]) if node.op_type != "Gemm" else out * known[node.input[0]][-1]


@pytest.mark.parametrize("integer", [False, True])
def test_products_of_packed_matrices_are_counted_too(integer: bool, tmp_path: Path) -> None:
    """As the voice net holds its recogniser: weights in bytes, which are multiplied out first, or multiplied as they are."""
    inputs = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 5, 300])]
    outputs = [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32 if integer else onnx.TensorProto.FLOAT, [2, 5, 70])]
    steps = [("Cast", ["w"], "wide", {"to": onnx.TensorProto.FLOAT}), ("MatMul", ["x", "wide"], "y", {})]
    if integer:
        steps = [("Cast", ["x"], "bytes", {"to": onnx.TensorProto.UINT8}), ("MatMulInteger", ["bytes", "w"], "y", {})]
    nodes = [onnx.helper.make_node(kind, takes, [gives], **how) for kind, takes, gives, how in steps]
    weights = onnx.numpy_helper.from_array(np.ones((300, 70), np.int8), "w")
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "bytes", inputs, outputs, [weights]), ir_version=9)
    model.opset_import[0].version = 17
    onnx.save(model, tmp_path / "net.onnx")
    assert millions_of_products(tmp_path / "net.onnx", {"x": [2, 5, 300]}) == pytest.approx(2 * 5 * 300 * 70 / 1e6)


@pytest.mark.parametrize("name", ASKED)
def test_a_second_of_a_call_takes_no_more_arithmetic_than_it_did(name: str) -> None:
    spent = sum(rate_hz * millions_of_products(MODELS / f"{name}.onnx", shapes) for rate_hz, shapes in ASKED[name])
    assert spent <= MOST_MILLIONS[name], f"{spent:.0f} million products a second of a call"
    assert spent > 0.3 * MOST_MILLIONS[name], "so much cheaper that the bound means nothing: lower it"


def test_what_cannot_be_measured_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.wav"
    with wave.open(str(empty), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    text = tmp_path / "notes.mp4"
    text.write_text("no media")
    for arguments, said in (
        ([str(tmp_path / "gone.mp4")], "no such file"),
        ([str(text)], "is not a media file"),
        ([str(text), "--models", str(tmp_path)], "is missing"),
        ([str(empty), "--rounds", "1"], "neither sound nor pictures"),
        ([str(text), "--rounds", "0"], "at least 1"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        told = capsys.readouterr().err
        assert (ended.value.code, told.count("\n")) == (2, 1)
        assert said in told

"""Matrix products with packed weights (see `export.small_weights`) in 8-bit integers, which processors multiply three times as fast."""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.onnx_files import open_onnx
from export.small_weights import SCALE, UNPACKED

LEVELS = 63  # of a weight: with more, processors without VNNI would overflow
INPUT_LEVELS = 255
Floats = NDArray[np.float32]
Range = tuple[float, float]


def with_integer_products(file: bytes, examples: Iterable[Mapping[str, Floats]]) -> bytes:
    """The same net; what comes into each product is rounded to 255 levels between its extremes in `examples`, weights to 63 each side.

    Ranges are fixed: what one stream is told does not depend on whom it shared a batch with.
    """
    model = onnx.load_from_string(file)
    stored = {each.name for each in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and _packed(node) in stored]
    ranges = _ranges(model, sorted({node.input[0] for node in products}), examples)
    nodes: list[onnx.NodeProto] = []
    rounded: set[str] = set()
    for node in model.graph.node:
        if node.op_type != "MatMul" or _packed(node) not in stored:
            nodes.append(node)
            continue
        entering = node.input[0]
        if entering not in rounded:
            nodes.append(_rounding(model.graph, entering, ranges[entering]))
            rounded.add(entering)
        nodes += _product(model.graph, node, ranges[entering])
    _keep(model.graph, nodes)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _packed(product: onnx.NodeProto) -> str:
    """The name of its weights, if they are packed."""
    weight = product.input[1]
    return weight.removesuffix(UNPACKED) if weight.endswith(UNPACKED) else ""


def _ranges(model: onnx.ModelProto, names: list[str], examples: Iterable[Mapping[str, Floats]]) -> dict[str, Range]:
    """Least and most that was met in these tensors, 0 included."""
    watched = onnx.ModelProto.FromString(model.SerializeToString())
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_onnx(watched.SerializeToString())
    takes = [each.name for each in session.get_inputs()]
    found: dict[str, Range] = dict.fromkeys(names, (0.0, 0.0))
    for example in examples:
        for name, value in zip(names, session.run(names, {each: example[each] for each in takes}), strict=True):
            low, high = found[name]
            found[name] = min(low, float(value.min())), max(high, float(value.max()))
    return found


def _levels(met: Range) -> tuple[np.float32, np.uint8]:
    """What one level is worth, and the level of zero."""
    low, high = met
    scale = np.float32(max(high - low, 1e-9) / INPUT_LEVELS)
    return scale, np.uint8(round(-low / float(scale)))


def _rounding(graph: onnx.GraphProto, name: str, met: Range) -> onnx.NodeProto:
    scale, zero = _levels(met)
    graph.initializer.append(numpy_helper.from_array(np.array(scale), f"{name}.step"))
    graph.initializer.append(numpy_helper.from_array(np.array(zero), f"{name}.zero"))
    return helper.make_node("QuantizeLinear", [name, f"{name}.step", f"{name}.zero"], [f"{name}.bytes"])


def _product(graph: onnx.GraphProto, node: onnx.NodeProto, met: Range) -> list[onnx.NodeProto]:
    """The same of integers, scaled back. The weights keep their names, so that `export.small_weights.read` finds them."""
    entering, weight, out = node.input[0], _packed(node), node.output[0]
    held = {each.name: each for each in graph.initializer if each.name in (weight, weight + SCALE)}
    value = numpy_helper.to_array(held[weight]).astype(np.float32) * numpy_helper.to_array(held[weight + SCALE])
    step = np.maximum(np.abs(value).max(0, keepdims=True) / LEVELS, 1e-12).astype(np.float32)
    held[weight].CopyFrom(numpy_helper.from_array(np.round(value / step).astype(np.int8), weight))
    held[weight + SCALE].CopyFrom(numpy_helper.from_array(step, weight + SCALE))
    return [
        helper.make_node("MatMulInteger", [f"{entering}.bytes", weight, f"{entering}.zero"], [f"{out}.sum"], name=node.name),
        helper.make_node("Cast", [f"{out}.sum"], [f"{out}.wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [weight + SCALE, f"{entering}.step"], [f"{out}.step"]),
        helper.make_node("Mul", [f"{out}.wide", f"{out}.step"], [out]),
    ]


def _keep(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """These nodes, in this order, and the tensors that they need; not what nobody asks for any more."""
    asked = {each.name for each in graph.output}
    kept = []
    for node in reversed(nodes):
        if asked.intersection(node.output):
            kept.append(node)
            asked.update(node.input)
    for held in [each for each in graph.initializer if each.name not in asked]:
        graph.initializer.remove(held)
    del graph.node[:]
    graph.node.extend(reversed(kept))

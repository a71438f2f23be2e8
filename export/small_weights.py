"""Weights that take one byte each in a file: rounded before a net is fitted to them, unpacked once when the file is opened."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from export.onnx_files import open_onnx
from export.to_onnx import PARITY_MAX_ABS, ParityError
from monitor.inference.card import Card, sha256_of

LEVELS = 127
LEAST_NUMBERS = 10_000  # a smaller tensor stays as it is
SCALE, UNPACKED = ".scale", ".unpacked"
Floats = NDArray[np.float32]


def rounded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same on 255 levels: of a matrix each column has its own scale, of a convolution each output."""
    return {name: _rounded(value.float()) if _is_large(value.numel(), value.ndim) else value.float() for name, value in weights.items()}


def pack(path: Path, card: Card, prefix: str, example: Mapping[str, Floats]) -> Card:
    """Store the large tensors of `path` whose names begin with `prefix`, `rounded` before, as bytes; returns the card of the new file.

    ONNX Runtime multiplies them out when it opens the file: it computes what it computed before. Raises ValueError for weights that were
    not rounded, ParityError when the outputs for `example` differ.
    """
    model = onnx.load(path)
    for held in [each for each in model.graph.initializer if each.name.startswith(prefix)]:
        value = numpy_helper.to_array(held)
        if _is_large(value.size, value.ndim):
            _replace(model.graph, held, value)
    onnx.checker.check_model(model, full_check=True)
    before, after = (open_onnx(each).run(None, dict(example)) for each in (path, model.SerializeToString()))
    if (moved := max(float(np.abs(a - b).max()) for a, b in zip(before, after, strict=True))) > PARITY_MAX_ABS:
        raise ParityError(f"{path.name} and its packed form differ by {moved:.2e}; it stays as it is")
    path.write_bytes(model.SerializeToString())
    packed = card.model_copy(update={"sha256": sha256_of(path)})
    path.with_suffix(".json").write_text(packed.model_dump_json(indent=1) + "\n")
    return packed


def read(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a file whose names begin with `prefix`, packed or not, by what follows it; empty when there are none."""
    stored = {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer if each.name.startswith(prefix)}
    found = {}
    for name, value in stored.items():
        if not name.endswith(SCALE):
            scale = stored.get(name + SCALE)
            found[name.removeprefix(prefix)] = torch.tensor(value if scale is None else value.astype(np.float32) * scale)
    return found


def _rounded(value: Tensor) -> Tensor:
    scale = _scale(value.numpy())
    return torch.from_numpy(np.round(value.numpy() / scale) * scale)


def _scale(value: Floats) -> Floats:
    """What one level is worth, in a shape that multiplies `value`: [1, columns] of a matrix, [outputs, 1, 1] of a convolution."""
    axes = (0,) if value.ndim == 2 else tuple(range(1, value.ndim))
    scale: Floats = np.maximum(np.abs(value).max(axes, keepdims=True) / LEVELS, 1e-12).astype(np.float32)
    return scale


def _is_large(numbers: int, dimensions: int) -> bool:
    return dimensions > 1 and numbers >= LEAST_NUMBERS


def _replace(graph: onnx.GraphProto, held: onnx.TensorProto, value: Floats) -> None:
    name, scale = held.name, _scale(value)
    levels = np.round(value / scale)
    if np.abs(levels * scale - value).max() > 0.01 * scale.max():
        raise ValueError(f"the weights of {name} were not rounded before they were packed")
    for node in graph.node:
        for place, taken in enumerate(node.input):
            if taken == name:
                node.input[place] = name + UNPACKED
    graph.initializer.remove(held)
    graph.initializer.append(numpy_helper.from_array(levels.astype(np.int8), name))
    graph.initializer.append(numpy_helper.from_array(scale, name + SCALE))
    graph.node.insert(0, helper.make_node("Mul", [f"{name}.wide", name + SCALE], [name + UNPACKED]))
    graph.node.insert(0, helper.make_node("Cast", [name], [f"{name}.wide"], to=TensorProto.FLOAT))

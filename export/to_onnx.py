"""From a trained torch net to exported_models/NAME.onnx and its card; refuses a file that does not compute what torch computes."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from export.data.pool import REPOSITORY
from export.onnx_files import open_onnx
from monitor.inference.card import Card, Task, sha256_of
from monitor.inference.card import Tensor as CardTensor

OPSET = 17
PARITY_MAX_ABS = 1e-4
MODELS = REPOSITORY / "exported_models"


@dataclass(frozen=True)
class Port:
    """One input or output: `dims` are ints (fixed) or names (free; equal names are equal sizes, "4*frames" style sums are names too)."""

    name: str
    dims: tuple[int | str, ...]
    meaning: str

    @property
    def tensor(self) -> CardTensor:
        return CardTensor(name=self.name, shape=tuple(-1 if isinstance(dim, str) else dim for dim in self.dims), meaning=self.meaning)


class ParityError(Exception):
    """The exported file and the torch net differ by more than 1e-4."""


def export_model(
    net: nn.Module,
    task: Task,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    examples: Sequence[Sequence[np.ndarray[Any, Any]]],
    about: Mapping[str, Any],
    folder: Path = MODELS,
) -> Card:
    """Write `folder`/`task`.onnx and .json, return the card.

    `net(*inputs)` returns one tensor or a tuple in the order of `outputs`. `examples`: at least two sets of float32 inputs that differ in
    batch size (and in every other free dimension): each is compared between torch and ONNX Runtime; `ParityError` beyond 1e-4 absolute.
    `about`: the card's version, trained_on, made_with, numbers, limits, licence.
    """
    if len({example[0].shape[0] for example in examples}) < 2:
        raise ValueError("give examples of at least two batch sizes, or a fixed batch goes unnoticed")
    net = net.eval().float().cpu()
    model = _converted(net, inputs, outputs, examples[0])
    parity = check_parity(net, model, inputs, examples)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task}.onnx"
    path.write_bytes(model)
    card = Card(
        name=task,
        task=task,
        sha256=sha256_of(path),
        inputs=tuple(port.tensor for port in inputs),
        outputs=tuple(port.tensor for port in outputs),
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        parity_max_abs=parity,
        **about,
    )
    path.with_suffix(".json").write_text(card.model_dump_json(indent=1) + "\n")
    return card


def check_parity(net: nn.Module, model: bytes, inputs: Sequence[Port], examples: Sequence[Sequence[np.ndarray[Any, Any]]]) -> float:
    """Largest absolute difference between torch and ONNX Runtime over `examples`. Raises ParityError beyond 1e-4."""
    session = open_onnx(model)
    worst = 0.0
    for example in examples:
        with torch.no_grad():
            expected = net(*[torch.from_numpy(array) for array in example])
        wanted = expected if isinstance(expected, tuple) else (expected,)
        got = session.run(None, {port.name: array for port, array in zip(inputs, example, strict=True)})
        for mine, theirs in zip(wanted, got, strict=True):
            if tuple(mine.shape) != theirs.shape:
                raise ParityError(
                    f"torch gives shape {tuple(mine.shape)}, ONNX Runtime {theirs.shape}; is a free dimension fixed in the graph?"
                )
            worst = max(worst, float(np.abs(mine.numpy() - theirs).max()))
    if not worst <= PARITY_MAX_ABS:
        raise ParityError(f"torch and ONNX Runtime differ by {worst:.2e}, more than {PARITY_MAX_ABS:.0e}; the file was not written")
    return worst


def _converted(net: nn.Module, inputs: Sequence[Port], outputs: Sequence[Port], example: Sequence[np.ndarray[Any, Any]]) -> bytes:
    """The graph as one self-contained ONNX file, opset 17, by torch's TorchScript exporter."""
    free = {port.name: {axis: dim for axis, dim in enumerate(port.dims) if isinstance(dim, str)} for port in [*inputs, *outputs]}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of this exporter and tracer notes; what matters is checked by parity
        torch.onnx.export(
            net,
            tuple(torch.from_numpy(array) for array in example),
            buffer,  # type: ignore[arg-type]  # takes a file object, its annotation says otherwise
            input_names=[port.name for port in inputs],
            output_names=[port.name for port in outputs],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString()
    return serialised

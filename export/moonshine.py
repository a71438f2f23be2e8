"""Moonshine tiny's encoder out of its `encoder_model.ort` (PyPI package moonshine-voice 0.0.49, MIT), made smaller for a call."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession
from torch import Tensor
from torch.nn import functional

from export.nets.speech_encoder import HEADS, LAYERS, TURNED, WIDTH, SpeechEncoder
from export.small_weights import rounded
from monitor.errors import ConfigError

NOTICE = (  # goes where the weights go
    "MIT License Copyright (c) 2025 Moonshine AI Permission is hereby granted, free of charge, to any person obtaining a copy "
    'of this software and associated documentation files (the "Software"), to deal in the Software without restriction, '
    "including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies "
    "of the Software, and to permit persons to whom the Software is furnished to do so, subject to the following conditions: "
    "The above copyright notice and this permission notice shall be included in all copies or substantial portions of the "
    'Software. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED '
    "TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE "
    "AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT "
    "OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."
)
RANKS = (128, 96)  # of the second and third convolution
TYPES = {1: np.float32, 2: np.uint8}
Floats = NDArray[np.float32]


def check_encoder(path: Path) -> None:
    """Raises ConfigError for what is no file of ONNX Runtime's own format."""
    if path.is_file():
        with path.open("rb") as file:
            if file.read(8)[4:] == b"ORTM":
                return
    wrong = "is no model in ORT format" if path.exists() else "is missing"
    raise ConfigError(f"{path} {wrong}; unpack encoder_model.ort from the package moonshine-voice 0.0.49 (pip download)")


def small_encoder(path: Path, sounds: Floats) -> SpeechEncoder:
    """`sounds` [n, samples]: speech whose second and third convolutions' outputs the two steps of lower rank keep best."""
    given = _tensors(path)
    weights = {f"layer{layer}_{name}": value for layer in range(LAYERS) for name, value in _layer(given, layer).items()}
    weights["conv1"] = given["conv1.weight"]
    weights["norm_weight"], weights["norm_bias"] = given["onnx::Mul_2080"], given["onnx::Add_2081"]
    with torch.no_grad():
        x = torch.tanh(functional.conv1d(torch.from_numpy(sounds)[:, None], weights["conv1"], stride=64))
        x = functional.group_norm(x, 1) * weights["norm_weight"] + weights["norm_bias"]
        for name, stride, rank in (("conv2", 3, RANKS[0]), ("conv3", 2, RANKS[1])):
            kernel, bias = given[f"{name}.weight"], given[f"{name}.bias"]
            x = functional.conv1d(x, kernel, bias, stride)
            weights |= {f"{name}{part}": value for part, value in _two_steps(kernel, bias, x, rank).items()}
            x = functional.gelu(x)
    return SpeechEncoder(rounded(weights))


def _two_steps(kernel: Tensor, bias: Tensor, outputs: Tensor, rank: int) -> dict[str, Tensor]:
    """A convolution to `rank` channels and one of a single tap back: the main directions of `outputs` [n, channels, T]."""
    flat = outputs.transpose(1, 2).reshape(-1, outputs.shape[1]).double()
    centre = flat.mean(0)
    main = torch.linalg.eigh(torch.cov((flat - centre).T))[1][:, -rank:].float()
    mean = centre.float()
    narrow = torch.einsum("or,oik->rik", main, kernel)
    return {"": narrow, "_bias": (bias - mean) @ main, "_back": main[:, :, None], "_back_bias": mean}


def _layer(given: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    name = f"layers.{layer}."
    size = WIDTH // HEADS
    turned = [*range(0, 2 * TURNED, 2), *range(1, 2 * TURNED, 2), *range(2 * TURNED, size)]  # pairs apart instead of side by side
    order = [size * head + place for head in range(HEADS) for place in turned]
    query, key = (given[f"{name}self_attn.{part}_proj"][:, order] for part in "qk")
    return {
        "norm1": given[name + "input_layernorm.weight"],
        "query_key_value": torch.cat([query * size**-0.5, key, given[name + "self_attn.v_proj"]], 1),
        "out": given[name + "self_attn.o_proj"],
        "norm2": given[name + "post_attention_layernorm.weight"],
        **{step: given[f"{name}mlp.{theirs}"] for step, theirs in (("up", "fc1"), ("down", "fc2"))},
        **{f"{step}_bias": given[f"{name}mlp.{theirs}.bias"] for step, theirs in (("up", "fc1"), ("down", "fc2"))},
    }


def _tensors(path: Path) -> dict[str, Tensor]:
    """Weights by name; those of 8 bits by the name of the product that uses them, as float."""
    check_encoder(path)
    graph = InferenceSession.GetRootAsInferenceSession(path.read_bytes(), 0).Model().Graph()
    stored = {}
    for index in range(graph.InitializersLength()):
        tensor = graph.Initializers(index)
        if tensor.DataType() in TYPES and tensor.RawDataLength():
            shape = [tensor.Dims(axis) for axis in range(tensor.DimsLength())]
            values = np.frombuffer(tensor.RawDataAsNumpy().tobytes(), TYPES[tensor.DataType()]).reshape(shape)
            stored[tensor.Name().decode().removesuffix("_add_tensor")] = torch.tensor(values.astype(np.float32))
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        if node.OpType() in (b"MatMulIntegerToFloat", b"DynamicQuantizeMatMul"):
            inputs = [node.Inputs(place).decode() for place in range(node.InputsLength())]
            held = next(name for name in inputs if name.startswith("onnx::MatMul") and name.endswith("_quantized"))
            source = held.removesuffix("_quantized")
            name = node.Name().decode().strip("/").removesuffix("/MatMul_quant").replace("/", ".")
            stored[name] = (stored[held] - stored[f"{source}_zero_point"]) * stored[f"{source}_scale"]
    return stored

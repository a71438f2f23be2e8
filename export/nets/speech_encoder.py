"""The first layers of a speech recogniser: what they hold of a voice, averaged, tells generated speech of unseen systems."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.small_weights import read, rounded
from monitor.errors import ConfigError

WIDTH, HEADS, TURNED = 288, 8, 16  # TURNED: pairs of numbers of a head that rotary positions turn
LAYERS = 4
READ = (1, 3)  # layers (counted from 0) whose outputs are averaged
PREFIX = "encoder.weights."  # of the names in an exported voice net
LAYER_PARTS = ("norm1", "query_key_value", "out", "norm2", "up", "up_bias", "down", "down_bias")


class SpeechEncoder(nn.Module):
    """`samples` [B, n ≥ 12,800] at 16 kHz, any loudness → [B, 2 × 288], means over time of the outputs of layers 1 and 3.

    Moonshine tiny's encoder (arXiv 2410.15608, MIT) up to its fourth of six layers, its second and third convolutions each in two steps
    of lower rank. `weights`: conv1, norm_weight, …, and of each layer
    `LAYER_PARTS` after "layer0_".
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        frozen = {name: nn.Parameter(value.detach().clone().float(), requires_grad=False) for name, value in weights.items()}
        self.weights = nn.ParameterDict(frozen)

    def forward(self, samples: Tensor) -> Tensor:
        return torch.cat([read.mean(1) for read in self.outputs(self.stem(samples))], 1)

    def outputs(self, h: Tensor) -> list[Tensor]:
        """Outputs [B, T, 288] of the layers READ, given `stem`'s."""
        cosine, sine = turns(h.shape[1], h)
        read = []
        for layer in range(LAYERS):
            h = self._layer(h, f"layer{layer}_", cosine, sine)
            if layer in READ:
                read.append(h)
        return read

    def stem(self, samples: Tensor) -> Tensor:
        """[B, frames of 24 ms, 288]."""
        at = self.weights
        x = torch.tanh(functional.conv1d(samples[:, None], at["conv1"], stride=64))
        x = functional.group_norm(x, 1) * at["norm_weight"] + at["norm_bias"]
        x = functional.conv1d(functional.conv1d(x, at["conv2"], at["conv2_bias"], stride=3), at["conv2_back"], at["conv2_back_bias"])
        x = functional.conv1d(functional.gelu(x), at["conv3"], at["conv3_bias"], stride=2)
        return functional.gelu(functional.conv1d(x, at["conv3_back"], at["conv3_back_bias"])).transpose(1, 2)

    def _layer(self, h: Tensor, name: str, cosine: Tensor, sine: Tensor) -> Tensor:
        at = {part: self.weights[name + part] for part in LAYER_PARTS}
        normed = functional.layer_norm(h, (WIDTH,), at["norm1"])
        query, key, value = (
            part.reshape(part.shape[0], part.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in (normed @ at["query_key_value"]).chunk(3, 2)
        )
        attention = torch.softmax(turned(query, cosine, sine) @ turned(key, cosine, sine).transpose(2, 3), 3)
        h = h + (attention @ value).transpose(1, 2).reshape(h.shape[0], h.shape[1], WIDTH) @ at["out"]
        normed = functional.layer_norm(h, (WIDTH,), at["norm2"])
        after: Tensor = h + (functional.gelu(normed @ at["up"] + at["up_bias"]) @ at["down"] + at["down_bias"])
        return after


def turns(steps: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """(cosines, sines) [steps, 16] by which `turned` turns."""
    slowness = torch.exp(torch.arange(TURNED, device=like.device, dtype=like.dtype) * (-math.log(1e4) / TURNED))
    turn = torch.arange(steps, device=like.device, dtype=like.dtype)[:, None] * slowness
    return turn.cos(), turn.sin()


def turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions (arXiv 2104.09864) of [B, heads, T, 36]: the first 16 numbers are paired with the next 16, the last 4 stay."""
    first, second, rest = x[..., :TURNED], x[..., TURNED : 2 * TURNED], x[..., 2 * TURNED :]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], 3)


def encoder_of(onnx_file: Path) -> SpeechEncoder:
    """The encoder inside an exported voice net, on levels of 8 bits whatever the file holds. Raises ConfigError when there is none."""
    found = read(onnx_file, PREFIX) if onnx_file.is_file() else {}
    if not found:
        raise ConfigError(f"{onnx_file} holds no speech encoder; pass --encoder with Moonshine's encoder_model.ort")
    return SpeechEncoder(rounded(found))

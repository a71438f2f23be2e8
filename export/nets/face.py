"""The face-forgery localiser: one aligned crop in, one logit and a 16×16 map of logits out.

Everything a user could get wrong happens inside the graph: each crop is standardised (colour cast, brightness and contrast do not
reach the net) and split into colour and neighbouring-pixel residue (NPR, Tan et al. 2024), which is brought to unit strength so that
overall sharpness hardly reaches it either. A plain trunk trained here reads both; frozen MobileNetV2 features (ImageNet, width 0.35)
stand beside it.
The logit is read from the map, and from features pooled over the whole face, over mouth and eyes, and where the map points.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

MAP_CELLS = 16
TOP_CELLS = 24
# Soft windows over the map, (x, y, half width, half height) in cells: mouth, each eye, nose and cheeks.
REGIONS = ((8.0, 11.3, 3.2, 2.0), (5.5, 6.1, 2.0, 1.6), (10.5, 6.1, 2.0, 1.6), (8.0, 8.6, 3.5, 2.0))


class FaceNet(nn.Module):
    """`face` float32 [B, 3, 128, 128], RGB 0..255 → `logit` [B] (positive = forged), `map_logits` [B, 16, 16]."""

    windows: Tensor

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.stem = nn.Sequential(_conv(24, 32), _conv(32, 48, 2), Residual(48), _conv(48, 96, 2), Residual(96))
        self.context = nn.Sequential(_conv(96, 128, 2), Residual(128), nn.Dropout2d(dropout / 2))
        self.fine_features = _conv(self.backbone.fine_channels, 32, size=1)
        self.coarse_features = _conv(self.backbone.coarse_channels, 48, size=1)
        self.fuse = nn.Sequential(nn.Dropout2d(dropout / 2), _conv(96 + 128 + 32 + 48, 96, size=1))
        self.map = nn.Conv2d(96, 1, 1)
        pooled = 96 * (2 + len(REGIONS))
        statistics = 3 * (self.backbone.fine_channels + self.backbone.coarse_channels)
        self.semantic = nn.Sequential(nn.Dropout(0.5), nn.Linear(statistics, 32), nn.ReLU())
        self.judge = nn.Sequential(nn.Dropout(dropout), nn.Linear(pooled + 32, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 1))
        self.from_map = nn.Linear(2 + len(REGIONS), 1)
        self.register_buffer("windows", _windows(), persistent=False)

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        colour = standardise(face)
        with torch.no_grad():
            fine, coarse = self.backbone(colour)
        pixels = torch.cat([colour, residue(colour)], dim=1)
        trunk = self.stem(F.pixel_unshuffle(pixels, 2))
        wide = F.interpolate(torch.cat([self.context(trunk), self.coarse_features(coarse)], dim=1), scale_factor=2.0, mode="nearest")
        features = self.fuse(torch.cat([trunk, wide, self.fine_features(fine)], dim=1))
        map_logits = self.map(features).flatten(1)
        cells = features.flatten(2)
        look = torch.softmax(map_logits, dim=1).unsqueeze(2)
        parts = torch.cat([cells.mean(2), (cells @ look).squeeze(2), (cells @ self.windows).flatten(1)], dim=1)
        semantic = self.semantic(torch.cat([_statistics(fine), _statistics(coarse)], dim=1))
        top = torch.topk(map_logits, TOP_CELLS, dim=1).values.mean(1, keepdim=True)
        heights = torch.cat([top, map_logits.mean(1, keepdim=True), map_logits @ self.windows], dim=1)
        logit = self.judge(torch.cat([parts, semantic], dim=1)) + self.from_map(heights)
        return logit.squeeze(1), map_logits.unflatten(1, (MAP_CELLS, MAP_CELLS))


def standardise(face: Tensor) -> Tensor:
    """Each channel's mean removed, all divided by one deviation: [B, 3, h, w] mean 0 and about unit strength; a flat crop becomes 0."""
    centred = face - face.mean(dim=(2, 3), keepdim=True)
    return centred / torch.sqrt(centred.square().mean(dim=(1, 2, 3), keepdim=True) + 1.0)


def residue(colour: Tensor) -> Tensor:
    """What is lost by halving and doubling the picture, brought to unit strength."""
    lost = colour - F.interpolate(F.avg_pool2d(colour, 2), scale_factor=2.0, mode="nearest")
    return lost / torch.sqrt(lost.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-4)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Inverted(nn.Module):
    """One block of MobileNetV2; `widened` is its inside before the depthwise convolution."""

    def __init__(self, inside: int, outside: int, stride: int, factor: int) -> None:
        super().__init__()
        middle = inside * factor
        self.expand = nn.Conv2d(inside, middle, 1) if factor > 1 else None
        self.depthwise = nn.Conv2d(middle, middle, 3, stride, padding=1 if stride == 1 else 0, groups=middle)
        self.project = nn.Conv2d(middle, outside, 1)
        self._stride = stride

    def widened(self, x: Tensor) -> Tensor:
        return F.relu6(self.expand(x)) if self.expand is not None else x

    def finished(self, x: Tensor, widened: Tensor) -> Tensor:
        y: Tensor = self.project(F.relu6(self.depthwise(F.pad(widened, (0, 1, 0, 1)) if self._stride == 2 else widened)))
        return x + y if self._stride == 1 and x.shape[1] == y.shape[1] else y


class Backbone(nn.Module):
    """MobileNetV2 (Sandler et al. 2018) at width 0.35 up to block 13, frozen, batch norms folded in: what ImageNet knows about surfaces.

    Colour of unit strength in; features after expansion in blocks 6 (stride 8) and 13 (stride 16) out.
    """

    BLOCKS = ((8, 1), (8, 2), (8, 1), (16, 2), (16, 1), (16, 1), (24, 2), (24, 1), (24, 1), (24, 1), (32, 1), (32, 1), (32, 1))
    fine_channels = 96
    coarse_channels = 192

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2)
        insides = (16, *[outside for outside, _ in self.BLOCKS])
        self.blocks = nn.ModuleList(
            [Inverted(insides[k], outside, stride, 6 if k else 1) for k, (outside, stride) in enumerate(self.BLOCKS)]
        )
        self.last = nn.Conv2d(insides[-1], self.coarse_channels, 1)
        self.requires_grad_(False)

    def forward(self, colour: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu6(self.first(F.pad((colour * 0.45).clamp(-1, 1), (0, 1, 0, 1))))
        fine = x
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Inverted)
            widened = block.widened(x)
            if index == 6:
                fine = widened
            x = block.finished(x, widened)
        return fine, F.relu6(self.last(x))

    def load_keras(self, path: Path) -> None:
        """Weights as Keras publishes them, from an .npz with Keras' names."""
        saved = dict(np.load(path))
        _fold(self.first, saved, "Conv1", "bn_Conv1")
        _fold(self.last, saved, "block_13_expand", "block_13_expand_BN")
        for index, block in enumerate(self.blocks):
            for part, conv in block.named_children():
                name = f"block_{index}_{part}" if index else f"expanded_conv_{part}"
                _fold(conv, saved, name, f"{name}_BN")


def _fold(conv: nn.Module, saved: Mapping[str, NDArray[np.float32]], name: str, norm: str) -> None:
    """Set `conv` to the saved convolution with its batch norm folded in."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    if conv.groups > 1:
        weight = torch.from_numpy(saved[f"{name}/depthwise_kernel"]).permute(2, 3, 0, 1)
    else:
        weight = torch.from_numpy(saved[f"{name}/kernel"]).permute(3, 2, 0, 1)
    gamma, beta, mean, variance = (torch.from_numpy(saved[f"{norm}/{k}"]) for k in ("gamma", "beta", "moving_mean", "moving_variance"))
    gain = gamma / torch.sqrt(variance + 1e-3)
    with torch.no_grad():
        conv.weight.copy_(weight * gain[:, None, None, None])
        conv.bias.copy_(beta - mean * gain)


def _conv(inside: int, outside: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())


def _statistics(features: Tensor) -> Tensor:
    """Mean, deviation and maximum of each channel: [B, 3 c]."""
    flat = features.flatten(2)
    mean = flat.mean(2)
    deviation = torch.sqrt((flat - mean.unsqueeze(2)).square().mean(2) + 1e-5)
    return torch.cat([mean, deviation, flat.amax(2)], dim=1)


def _windows() -> Tensor:
    """The soft regions as weights over the cells: [256, regions], each column sums to one."""
    y, x = torch.meshgrid(torch.arange(MAP_CELLS) + 0.5, torch.arange(MAP_CELLS) + 0.5, indexing="ij")
    columns = [torch.exp(-0.5 * (((x - cx) / w) ** 2 + ((y - cy) / h) ** 2)).flatten() for cx, cy, w, h in REGIONS]
    return torch.stack([column / column.sum() for column in columns], dim=1)

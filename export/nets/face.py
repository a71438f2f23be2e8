"""The face-forgery localiser: one aligned crop and the same place a frame earlier in, one logit and a 16×16 map of logits out.

Everything a user could get wrong happens inside the graph: each crop is standardised (colour cast, brightness and contrast do not
reach the net) and split into colour and neighbouring-pixel residue (NPR, Tan et al. 2024), which is brought to unit strength so that
overall sharpness hardly reaches it either; edges (Sobel) stand beside them, as in FoCus (arXiv 2409.01030). How smooth part and residue
changed since the earlier picture shows what sticks or flickers.
A plain trunk trained here reads all of it; frozen MobileNetV2 features (ImageNet, width 0.35) stand beside it. What it learned is read
from the map, and from features pooled over the whole face, over mouth and eyes, and where the map points. Two discriminants in closed
form stand beside that: a thousand clips are too few to train a net that knows no faces by heart, but enough for a direction.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

MAP_CELLS = 16
PIXEL_CHANNELS = 3 + 3 + 2
TEXTURE_SIZES = 3
# Shares of the crop (left, top, right, bottom): mouth, eyes, inner face, top and both sides, which no swap or lip-sync touches.
TEXTURE_BOXES = (
    (0.30, 0.58, 0.70, 0.82),
    (0.23, 0.29, 0.77, 0.47),
    (0.25, 0.30, 0.75, 0.78),
    (0.0, 0.0, 1.0, 0.10),
    (0.0, 0.0, 0.12, 1.0),
    (0.88, 0.0, 1.0, 1.0),
)
APPEARANCE_BOXES = ((0.28, 0.58, 0.72, 0.85), (0.2, 0.28, 0.8, 0.5))  # mouth, eyes
TEXTURE_NUMBERS = 3 * TEXTURE_SIZES * len(TEXTURE_BOXES)
LUMA = (0.299, 0.587, 0.114)
TOP_CELLS = 24
# Soft windows over the map, (x, y, half width, half height) in cells: mouth, each eye, nose and cheeks.
REGIONS = ((8.0, 11.3, 3.2, 2.0), (5.5, 6.1, 2.0, 1.6), (10.5, 6.1, 2.0, 1.6), (8.0, 8.6, 3.5, 2.0))


class FaceNet(nn.Module):
    """`face`, `earlier` float32 [B, 3, 128, 128], RGB 0..255 → `logit` [B] (positive = forged), `map_logits` [B, 16, 16].

    `earlier` is the picture 30–80 ms before, cut out at the same place; where there is none, `face` once more. The logit is the sum of
    what was learned by gradient (`learned`) and of two discriminants in closed form (see export.fisher) over frozen numbers.
    """

    windows: Tensor
    sobel: Tensor

    def __init__(self, dropout: float = 0.3, edges: bool = True) -> None:
        super().__init__()
        self._edges = edges
        channels = PIXEL_CHANNELS + int(edges)
        self.backbone = Backbone()
        first = nn.Sequential(BlockConv(channels, 24), nn.BatchNorm2d(24), nn.ReLU())
        self.stem = nn.Sequential(first, _conv(24, 40, 2), Residual(40), _conv(40, 80, 2), Residual(80))
        self.context = nn.Sequential(_conv(80, 112, 2), Residual(112), nn.Dropout2d(dropout / 2))
        self.fine_features = _conv(self.backbone.fine_channels, 32, size=1)
        self.coarse_features = _conv(self.backbone.coarse_channels, 48, size=1)
        self.fuse = nn.Sequential(nn.Dropout2d(dropout / 2), _conv(80 + 112 + 32 + 48, 96, size=1))
        self.map = nn.Conv2d(96, 1, 1)
        self.judge = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(96 * (2 + len(REGIONS)), 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 1)
        )
        self.from_map = nn.Linear(2 + len(REGIONS), 1)
        self.from_appearance = _frozen(3 * (3 * self.backbone.fine_channels + self.backbone.coarse_channels))
        self.from_texture = _frozen(TEXTURE_NUMBERS)
        self.register_buffer("windows", _windows(), persistent=False)
        self.register_buffer("sobel", _sobel(), persistent=False)

    @classmethod
    def like(cls, state: Mapping[str, Tensor]) -> "FaceNet":
        """A net into which `state` fits."""
        return cls(edges=state["stem.0.0.weight"].shape[1] > 4 * PIXEL_CHANNELS)

    def lighten(self) -> None:
        """Put the first convolution in the form that costs least to run; it computes the same and can no longer be trained or loaded."""
        first = self.stem[0]
        assert isinstance(first, nn.Sequential)
        assert isinstance(first[0], BlockConv)
        first[0] = first[0].as_conv()

    def forward(self, face: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor]:
        colour = standardise(face)
        features = self.backbone(colour)
        learned, map_logits = self.learned(face, earlier, colour, features)
        closed = self.from_appearance(appearance(*features)) + self.from_texture(texture(face, earlier))
        return learned + closed.squeeze(1), map_logits

    def learned(self, face: Tensor, earlier: Tensor, colour: Tensor, features: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(logit [B], map_logits [B, 16, 16]) of the part that is trained by gradient."""
        fine, coarse = features
        seen = [colour, residue(colour), change(face, earlier)]
        pixels = torch.cat([*seen, edges(colour, self.sobel)] if self._edges else seen, dim=1)
        trunk = self.stem(pixels)
        wide = F.interpolate(torch.cat([self.context(trunk), self.coarse_features(coarse)], dim=1), scale_factor=2.0, mode="nearest")
        fused = self.fuse(torch.cat([trunk, wide, self.fine_features(fine)], dim=1))
        map_logits = self.map(fused).flatten(1)
        cells = fused.flatten(2)
        look = torch.softmax(map_logits, dim=1).unsqueeze(2)
        parts = torch.cat([cells.mean(2), (cells @ look).squeeze(2), (cells @ self.windows).flatten(1)], dim=1)
        top = torch.topk(map_logits, TOP_CELLS, dim=1).values.mean(1, keepdim=True)
        heights = torch.cat([top, map_logits.mean(1, keepdim=True), map_logits @ self.windows], dim=1)
        logit = self.judge(parts) + self.from_map(heights)
        return logit.squeeze(1), map_logits.unflatten(1, (MAP_CELLS, MAP_CELLS))


def _frozen(numbers: int) -> nn.Linear:
    """A linear read-out that says nothing until its discriminant is put in."""
    linear = nn.Linear(numbers, 1).requires_grad_(False)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def appearance(fine: Tensor, coarse: Tensor) -> Tensor:
    """Mean, deviation and maximum of every frozen feature over the face, and of the fine ones over mouth and eyes: [B, 1440]."""
    side = fine.shape[-1]
    boxes = [fine[:, :, int(y0 * side) : int(y1 * side), int(x0 * side) : int(x1 * side)] for x0, y0, x1, y1 in APPEARANCE_BOXES]
    return torch.cat([_statistics(each) for each in (fine, coarse, *boxes)], dim=1)


def standardise(face: Tensor) -> Tensor:
    """Each channel's mean removed, all divided by one deviation: [B, 3, h, w] mean 0 and about unit strength; a flat crop becomes 0."""
    centred = face - face.mean(dim=(2, 3), keepdim=True)
    return centred / torch.sqrt(centred.square().mean(dim=(1, 2, 3), keepdim=True) + 1.0)


def residue(colour: Tensor) -> Tensor:
    """What is lost by halving and doubling the picture, brought to unit strength."""
    lost = colour - F.interpolate(F.avg_pool2d(colour, 2), scale_factor=2.0, mode="nearest")
    return lost / torch.sqrt(lost.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-4)


def edges(colour: Tensor, sobel: Tensor) -> Tensor:
    """Strength of the edges of the mean of the channels, brought to unit strength: [B, 1, h, w]."""
    steps = F.conv2d(colour.mean(1, keepdim=True), sobel, padding=1)
    power = steps.square().sum(1, keepdim=True)
    return torch.sqrt(power + 1e-6) / torch.sqrt(power.mean(dim=(2, 3), keepdim=True) + 1e-4)


def change(face: Tensor, earlier: Tensor) -> Tensor:
    """What moved and what flickered, in gray: [B, 2, h, w], the change of the smooth part and of the residue, in units of the face's own.

    The change of the smooth part is compressed, so that a still head and a lively one differ little.
    """
    gray = torch.cat([(picture * face.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True) for picture in (face, earlier)], dim=1)
    smooth = F.interpolate(F.avg_pool2d(gray, 2), scale_factor=2.0, mode="nearest")
    fine = gray - smooth
    moved = (smooth[:, :1] - smooth[:, 1:]) / torch.sqrt(gray[:, :1].var(dim=(2, 3), keepdim=True) + 1.0)
    flickered = (fine[:, :1] - fine[:, 1:]) / torch.sqrt(fine[:, :1].square().mean(dim=(2, 3), keepdim=True) + 0.2)
    return torch.cat([torch.tanh(3.0 * moved), flickered], dim=1)


def texture(face: Tensor, earlier: Tensor) -> Tensor:
    """How much fine detail there is, how much of it changed and how much stayed: [B, TEXTURE_NUMBERS], logarithms and correlations.

    For gray detail of three sizes in each of TEXTURE_BOXES. So few numbers cannot learn people by heart; over four folds of unseen
    generators they ranked forgeries better than frozen features of single pictures.
    """
    weights = face.new_tensor(LUMA)[:, None, None]
    now, before = ((picture * weights).sum(1, keepdim=True) for picture in (face, earlier))
    unit = torch.sqrt(now.var(dim=(2, 3), keepdim=True) + 1.0)
    now, before = now / unit, before / unit
    numbers: list[Tensor] = []
    for _ in range(TEXTURE_SIZES):
        halves = F.avg_pool2d(now, 2), F.avg_pool2d(before, 2)
        fine, fine_before = (x - F.interpolate(h, scale_factor=2.0, mode="nearest") for x, h in zip((now, before), halves, strict=True))
        maps = torch.cat([fine.square(), fine_before.square(), (fine - fine_before).square(), fine * fine_before], dim=1)
        energy, energy_before, changed, stayed = (_box_means(maps) + 1e-4).unbind(1)
        strength = torch.sqrt(energy * energy_before)
        numbers.append(torch.stack([torch.log(energy), torch.log(changed / strength + 0.02), stayed / strength], dim=2).flatten(1))
        now, before = halves
    return torch.cat(numbers, dim=1)


def _box_means(maps: Tensor) -> Tensor:
    """Means over TEXTURE_BOXES, [B, C, side, side] → [B, C, boxes], as two products: boxes cut out one by one cost a runtime 200 steps."""
    side = int(maps.shape[-1])
    rows, columns = np.zeros((2, side, len(TEXTURE_BOXES)), np.float32)
    for box, (left, top, right, bottom) in enumerate(TEXTURE_BOXES):
        for shares, low, high in ((rows, int(top * side), int(bottom * side)), (columns, int(left * side), int(right * side))):
            shares[low:high, box] = 1 / (high - low)
    return ((maps @ torch.from_numpy(columns).to(maps)) * torch.from_numpy(rows).to(maps)).sum(2)


class BlockConv(nn.Conv2d):
    """A 3×3 convolution over blocks of 2×2 pixels (`pixel_unshuffle`), done as a 6×6 one of stride 2, which moves no pixels about."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(4 * inside, outside, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.wide_weight(), stride=2, padding=2)

    def wide_weight(self) -> Tensor:
        """[outside, inside, 6, 6]"""
        outside, blocks = self.weight.shape[:2]
        by_block = self.weight.reshape(outside, blocks // 4, 2, 2, 3, 3)  # outside, inside, dy, dx, ky, kx
        return by_block.permute(0, 1, 4, 2, 5, 3).reshape(outside, blocks // 4, 6, 6)

    def as_conv(self) -> nn.Conv2d:
        """The same as a common convolution, into which a runtime folds the batch norm."""
        weight = self.wide_weight().detach()
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 6, 2, padding=2, bias=False)
        conv.weight = nn.Parameter(weight.contiguous())
        return conv


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

    def load_keras(self, file: Path | BinaryIO) -> None:
        """Weights as Keras publishes them, from an .npz with Keras' names."""
        saved = dict(np.load(file))
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


def _sobel() -> Tensor:
    """Steps to the right and downwards: [2, 1, 3, 3]."""
    right = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    return torch.stack([right, right.T])[:, None]

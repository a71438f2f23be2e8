"""The face detector's network: a small pyramid with the twelve outputs of YuNet (Wu, Peng, Yu 2023).

Unlike YuNet it uses plain 3×3 convolutions at few channels where the map is large: they keep a CPU's vector units busier than the
depthwise ones that the literature counts as cheaper.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

PYRAMID = 32


def plain(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def separable(channels: int) -> nn.Sequential:
    """Pointwise, then depthwise 3×3, with a non-linearity only at the end, as in YuNet."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1),
        nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class Head(nn.Module):
    """Whether there is a face, and where exactly, from one level of the pyramid: each question has its own look."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Sequential(separable(PYRAMID), nn.Conv2d(PYRAMID, 1, 1))
        self.place = nn.Sequential(separable(PYRAMID), nn.Conv2d(PYRAMID, 14, 1))  # box (4), five landmarks (10)
        nn.init.constant_(self.score[-1].bias, -4.0)  # type: ignore[arg-type]  # faces are rare

    def forward(self, level: Tensor) -> Tensor:
        return torch.cat([self.score(level), self.place(level)], dim=1)


class DetectorNet(nn.Module):
    """Pictures [B, 3, H, W], BGR 0..255, H and W multiples of 32 → cells [B, n, 15] of strides 8, 16, 32 one after the other, row by row.

    A cell holds the logit of its score, then box and landmarks as YuNet means them: centre and landmarks relative to the cell's corner in
    strides, log of width and height in strides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unit = 1 / 255
        self.quarter = nn.Sequential(plain(3, 16, 2), plain(16, 16, 2))
        self.eighth = plain(16, 32, 2)
        self.sixteenth = nn.Sequential(plain(32, 48, 2), plain(48, 48))
        self.last = nn.Sequential(plain(48, 64, 2), separable(64), separable(64))
        self.lateral = nn.ModuleList([nn.Conv2d(channels, PYRAMID, 1) for channels in (32, 48, 64)])
        self.heads = nn.ModuleList([Head() for _ in range(3)])

    def forward(self, bgr: Tensor) -> Tensor:
        return torch.cat(self.levels(bgr), dim=1)

    def levels(self, bgr: Tensor) -> list[Tensor]:
        """The cells of each stride by itself."""
        eighth = self.eighth(self.quarter(bgr if self.unit == 1.0 else bgr * self.unit))
        sixteenth = self.sixteenth(eighth)
        high = self.lateral[2](self.last(sixteenth))
        middle = self.lateral[1](sixteenth) + nn.functional.interpolate(high, scale_factor=2.0)
        low = self.lateral[0](eighth) + nn.functional.interpolate(middle, scale_factor=2.0)
        maps = [head(level) for head, level in zip(self.heads, (low, middle, high), strict=True)]
        return [cells.flatten(2).transpose(1, 2) for cells in maps]


class ShippedDetector(nn.Module):
    """The same with YuNet's twelve outputs: cls, obj, bbox, kps, each at strides 8, 16, 32. cls = obj = the score = √(cls · obj)."""

    def __init__(self, net: DetectorNet, strictness: float = 0.0) -> None:
        """`strictness` is taken off every score's logit, so that the usual confidence of 0.6 is the right one for this net."""
        super().__init__()
        self.net = copy.deepcopy(net)
        self.net.unit = 1.0  # the first convolution takes bytes as they are: one pass over the picture less
        with torch.no_grad():
            next(self.net.quarter.parameters()).mul_(net.unit)
            for head in self.net.heads:
                last = cast(Head, head).score[-1]
                cast(nn.Conv2d, last).bias.sub_(strictness)  # type: ignore[union-attr]

    def forward(self, bgr: Tensor) -> tuple[Tensor, ...]:
        levels = self.net.levels(bgr)
        scores = tuple(level[:, :, :1].sigmoid() for level in levels)
        boxes = tuple(level[:, :, 1:5] for level in levels)
        landmarks = tuple(level[:, :, 5:] for level in levels)
        return (*scores, *(score * 1.0 for score in scores), *boxes, *landmarks)

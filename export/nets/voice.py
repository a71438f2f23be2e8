"""The voice net: a small CNN over a linear-frequency log spectrum that tells generated from recorded speech."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def _block(before: int, after: int, stride: tuple[int, int] = (1, 1)) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_block(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inner(x))


class VoiceNet(nn.Module):
    """`log_spectrum` [B, frames, 256] (10 ms, 31.25 Hz) → `logit` [B], positive = generated. Any number of frames ≥ 80.

    Two channels: what is left of the spectrum after each band's mean over time is taken away, and after the mean of its ±7 neighbouring
    bands is: the first ignores a steady colouring by microphone, room or codec, the second also level and band limit. Frequency keeps
    its place until the end: artefacts live in bands.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 16, 5, 2, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(
            _block(16, 32, (2, 2)),
            _block(32, 64, (2, 2)),
            _block(64, 64, (1, 2)),
            Residual(64),
            _block(64, 128, (2, 2)),
        )
        self.bands = nn.Sequential(nn.Conv2d(128, 128, (1, 8), bias=False), nn.BatchNorm2d(128), nn.ReLU())
        self.attention = nn.Conv1d(128, 1, 1)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(256, 1))

    def forward(self, log_spectrum: Tensor) -> Tensor:
        x = log_spectrum[:, None]
        x = torch.cat([(x - x.mean(2, keepdim=True)) / 2.0, x - functional.avg_pool2d(x, (1, 15), 1, (0, 7), count_include_pad=False)], 1)
        x = self.bands(self.body(self.stem(x))).squeeze(3)
        weight = torch.softmax(self.attention(x), 2)
        mean = (x * weight).sum(2)
        deviation = torch.sqrt(((x - mean[:, :, None]) ** 2 * weight).sum(2) + 1e-4)
        logit: Tensor = self.head(torch.cat([mean, deviation], 1))
        return logit.squeeze(1)

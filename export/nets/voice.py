"""The voice net: a small CNN over a linear-frequency log spectrum that tells generated from recorded speech."""

import torch
from torch import Tensor, nn
from torch.nn import functional

AROUND = 5  # steps of 160 ms that a local logit looks at


def _block(before: int, after: int, stride: tuple[int, int] = (1, 1)) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_block(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inner(x))


class VoiceNet(nn.Module):
    """`log_spectrum` [B, frames, 256] (10 ms, 31.25 Hz) → `logit` [B] and `local_logits` [B, ⌈frames/16⌉], positive = generated.

    Any number of frames ≥ 80. Two channels: what is left of the spectrum after each band's mean over time is taken away, and after the
    mean of its ±7 neighbouring bands is: the first ignores a steady colouring by microphone, room or codec, the second also level and band
    limit. Frequency keeps its place until the end: artefacts live in bands. A local logit is what the clip's would be if only the 0.8 s
    around that step of 160 ms had been heard: same attention, same head.
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

    def forward(self, log_spectrum: Tensor) -> tuple[Tensor, Tensor]:
        x = log_spectrum[:, None]
        x = torch.cat([(x - x.mean(2, keepdim=True)) / 2.0, x - functional.avg_pool2d(x, (1, 15), 1, (0, 7), count_include_pad=False)], 1)
        x = self.bands(self.body(self.stem(x))).squeeze(3).float()
        weight = torch.exp(5.0 * torch.tanh(self.attention(x) / 5.0))
        sums = torch.cat([weight, x * weight, x**2 * weight], 1)
        nearby = functional.avg_pool1d(sums, AROUND, 1, AROUND // 2, count_include_pad=False)
        return self._judge(sums.mean(2, keepdim=True)).squeeze(1), self._judge(nearby)

    def _judge(self, sums: Tensor) -> Tensor:
        """Logits [B, n] of [B, 1 + 2 × 128, n]: weights, weighted features and squares, averaged over some time."""
        weight, first, second = sums[:, :1], sums[:, 1:129], sums[:, 129:]
        mean = first / weight
        deviation = torch.sqrt(functional.relu(second / weight - mean**2) + 1e-4)
        logit: Tensor = self.head(torch.cat([mean, deviation], 1).transpose(1, 2)).squeeze(2)
        return logit

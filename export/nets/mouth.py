"""The mouth's texture over time: pictures of one mouth at 25 a second in, one logit out.

Fine detail around the lips is drawn anew in every picture of a lip-sync or a swap, and drawn softer where the lips move; a camera's detail
is carried along by the skin. Thirty numbers say how much detail of three sizes there is, how it flickers, how much of it stays from picture
to picture, and whether it goes when the lips move. So few numbers cannot learn people by heart; one direction in closed form (see
`export.fisher`) reads them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZES = 3
CARRIED_STEPS = (1, 2, 6)  # 40, 80 and 240 ms
CHANGED_STEPS = (1, 2)
LIPS = (0.27, 0.41, 0.73, 0.66)  # left, top, right, bottom as shares of the mouth crop
NUMBERS = SIZES * (5 + len(CARRIED_STEPS) + len(CHANGED_STEPS))
FLOOR = 1e-4  # of energies, for crops are brought to unit contrast
LEAST = 0.02


class MouthTexture(nn.Module):
    """`mouths` float32 [B, T, 64, 64], gray 0..255, 25 a second, T ≥ 20 → `logit` [B], positive = forged."""

    def __init__(self) -> None:
        super().__init__()
        self.read_out = nn.Linear(NUMBERS, 1).requires_grad_(False)

    def forward(self, mouths: Tensor) -> Tensor:
        logit: Tensor = self.read_out(texture_over_time(mouths)).squeeze(1)
        return logit


def texture_over_time(mouths: Tensor) -> Tensor:
    """[B, T, 64, 64] → [B, NUMBERS]; loudness of light and contrast, which belong to the room, are taken out first."""
    centred = mouths - mouths.mean(dim=(2, 3), keepdim=True)
    now = mouths / (centred.square().mean(dim=(2, 3), keepdim=True).sqrt().mean(dim=1, keepdim=True) + 1.0)
    numbers: list[Tensor] = []
    for _ in range(SIZES):
        half = F.avg_pool2d(now, 2)
        smooth = F.interpolate(half, scale_factor=2.0, mode="nearest")
        numbers += _of_one_size(_lips(now - smooth), _lips(smooth))
        now = half
    return torch.stack(numbers, dim=1)


def _of_one_size(fine: Tensor, smooth: Tensor) -> list[Tensor]:
    """Numbers [B] of detail and of what it lies on, both [B, T, h, w]."""
    energy = fine.square().mean((2, 3)) + FLOOR
    detail = energy.log()
    moved = (_step(smooth).square().mean((2, 3)) + FLOOR).log()
    after, level = detail[:, 1:] - detail[:, 1:].mean(1, keepdim=True), moved - moved.mean(1, keepdim=True)
    together = (after * level).mean(1) / (_deviation(after) * _deviation(level) + 0.05)
    flicker = ((detail[:, 1:] - detail[:, :-1]).abs().mean(1) + LEAST).log()
    numbers = [detail.mean(1), flicker, (_deviation(detail) + LEAST).log(), moved.mean(1), together]
    for steps in CARRIED_STEPS:
        carried = (fine[:, steps:] * fine[:, :-steps]).mean((2, 3))
        numbers.append((carried / (energy[:, steps:] * energy[:, :-steps]).sqrt()).mean(1))
    for steps in CHANGED_STEPS:
        changed = _step(fine, steps).square().mean((2, 3))
        numbers.append((changed / (energy[:, steps:] * energy[:, :-steps]).sqrt() + LEAST).log().mean(1))
    return numbers


def _lips(pictures: Tensor) -> Tensor:
    left, top, right, bottom = (int(share * pictures.shape[-1] + 0.5) for share in LIPS)
    return pictures[:, :, top:bottom, left:right]


def _step(pictures: Tensor, steps: int = 1) -> Tensor:
    return pictures[:, steps:] - pictures[:, :-steps]


def _deviation(series: Tensor) -> Tensor:
    return ((series - series.mean(1, keepdim=True)).square().mean(1) + 1e-6).sqrt()

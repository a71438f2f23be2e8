"""What the lip–voice net learns speech with and leaves behind: speech units and characters, read from lips and from voice."""

import torch
from torch import Tensor, nn

from export.data.talk_teacher import TAUGHT_WIDTH
from export.data.units import UNITS
from export.nets.audio_visual import WIDTH, AudioVisualNet, positions

MASK_STEPS = 5


class Recogniser(nn.Module):
    """Heads on the front-ends and encoders of an AudioVisualNet, with what else is learned but not exported."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.lip_units, self.voice_units = nn.Linear(WIDTH, UNITS), nn.Linear(WIDTH, UNITS)
        self.lip_pupil, self.voice_pupil = nn.Linear(WIDTH, TAUGHT_WIDTH), nn.Linear(WIDTH, TAUGHT_WIDTH)
        self.masked_units = nn.Linear(WIDTH, UNITS)
        self.lip_characters, self.voice_characters = nn.Linear(WIDTH, characters + 1), nn.Linear(WIDTH, characters + 1)  # 0: blank
        self.hidden = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.log_sharpness = nn.Parameter(torch.tensor([2.7, 2.7]))  # of steps and of curves
        self.likeness = nn.Parameter(torch.tensor([0.5, 0.3]))  # from a cosine to the agreement of two posteriors: slope and base

    def read(self, net: AudioVisualNet, front: Tensor, *, lips: bool) -> Tensor:
        """Log-probabilities of characters [T, B, C + 1] for the CTC loss."""
        encoder, head = (net.lip_encoder, self.lip_characters) if lips else (net.voice_encoder, self.voice_characters)
        return torch.log_softmax(head(encoder(front + positions(front))).float(), 2).transpose(0, 1)

    def guess(self, net: AudioVisualNet, front: Tensor, masked: Tensor) -> Tensor:
        """Logits of the units [n, 96] at the n `masked` steps (bool [B, T]), from what is heard around them."""
        seen = torch.where(masked[:, :, None], self.hidden.to(front.dtype), front)
        logits: Tensor = self.masked_units(net.voice_encoder(seen + positions(front))[masked])
        return logits.float()

    def sharpness(self) -> Tensor:
        """Inverse temperatures [2] of steps and of curves."""
        return self.log_sharpness.exp().clamp(max=60.0)


def random_spans(batch: int, steps: int, generator: torch.Generator, share: float = 0.3) -> Tensor:
    """Bool [batch, steps]: spans of MASK_STEPS that cover about `share` of the steps."""
    starts = torch.rand(batch, steps, generator=generator) < share / MASK_STEPS
    spans = starts.clone()
    for shift in range(1, MASK_STEPS):
        spans[:, shift:] |= starts[:, :-shift]
    return spans

"""What is exported as voice_forgery: the small net over the spectrum, and a direction among a speech encoder's numbers."""

import torch
from torch import Tensor, nn

from export.nets.speech_encoder import SpeechEncoder
from export.nets.voice import VoiceNet

FARTHEST = 6.0  # deviations from the mean that a number may have a say with


class Manner(nn.Module):
    """`numbers` [B, d] of an encoder → [B]: how generated the manner of speaking is; genuine training clips have mean 0, deviation 1."""

    def __init__(self, centre: Tensor, spread: Tensor, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.centre, self.spread, self.weight, self.bias = (
            nn.Parameter(value.detach().clone().float(), requires_grad=False) for value in (centre, spread, weight, torch.tensor(bias))
        )

    def forward(self, numbers: Tensor) -> Tensor:
        standard = ((numbers - self.centre) / self.spread).clamp(-FARTHEST, FARTHEST)
        manner: Tensor = standard @ self.weight + self.bias
        return manner


class VoiceJudge(nn.Module):
    """`log_spectrum` [B, frames, 256] and its `samples` [B, 160 × frames] → `logit` [B] and `local_logits` [B, ⌈frames/16⌉].

    The encoder hears the last half only, since windows overlap by half: every second of a call passes it once. Its say counts `share`
    in the clip's logit and nothing in the local ones.
    """

    def __init__(self, net: VoiceNet, encoder: SpeechEncoder, manner: Manner, share: float) -> None:
        super().__init__()
        self.net, self.encoder, self.manner, self.share = net, encoder, manner, share

    def forward(self, log_spectrum: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        logit, local = self.net(log_spectrum)
        return logit + self.share * self.manner(self.encoder(samples[:, samples.shape[1] // 2 :])), local

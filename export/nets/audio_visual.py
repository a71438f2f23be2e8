"""The lip–voice net: the dual-label AVSR layout of arXiv 2307.14491 in miniature, with sync embeddings read before the modalities meet.

    mouths → 5-frame stem → small residual CNN → temporal convs ─┬→ lip_embedding            log_mel → Conv1d stack ─┬→ voice_embedding
                                                                  └→ 2-layer encoder ─┐                                └→ 2-layer encoder ─┐
                                    [cls_token, fake_token, video steps, audio steps] → 2-layer joint decoder → logits, count_logits

    log_mel, mouths → two small texture CNNs → what generators leave in bands and pixels, added to the logits

A missing modality is replaced by a learned vector at every step, whatever its tensor holds. The textures stand apart because the
front-ends, taught by what is said, forget how it sounds and looks.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 128
SYNC_WIDTH = 64
HEADS = 4


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_conv(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inner(x))


class Temporal(nn.Module):
    """Residual convolution over time, kernel 5: keeps what a step sees within ±2 steps. Ends are repeated: a zero would mark them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv1d(width, width, 5, 1, 2, bias=False, padding_mode="replicate"), nn.BatchNorm1d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inner(x))


class LipFront(nn.Module):
    """mouths [B, T, 64, 64] 0..255 → [B, T, 128]; a step sees ±6 steps (0.5 s)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(5, 16, 5, 2, 2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(_conv(16, 32, 2), _conv(32, 64, 2), Residual(64), _conv(64, 128, 2))
        self.flat = nn.Sequential(nn.Conv2d(128, WIDTH, 4, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Dropout(0.1))
        self.time = nn.Sequential(Temporal(WIDTH), Temporal(WIDTH))

    def forward(self, mouths: Tensor) -> Tensor:
        batch, steps = mouths.shape[0], mouths.shape[1]
        mean = mouths.mean((1, 2, 3), keepdim=True)
        deviation = torch.sqrt(((mouths - mean) ** 2).mean((1, 2, 3), keepdim=True) + 25.0)
        x = (mouths - mean) / deviation
        padded = torch.cat([x[:, :1], x[:, :1], x, x[:, -1:], x[:, -1:]], 1)
        stacked = torch.stack([padded[:, shift : shift + steps] for shift in range(5)], 2).reshape(batch * steps, 5, 64, 64)
        x = self.flat(self.body(self.stem(stacked))).reshape(batch, steps, WIDTH)
        result: Tensor = self.time(x.transpose(1, 2)).transpose(1, 2)
        return result


class VoiceFront(nn.Module):
    """log_mel [B, 4 T, 64] → [B, T, 128]; a step sees about ±0.25 s."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(64, WIDTH, 5, 1, 2, bias=False, padding_mode="replicate"),
            nn.BatchNorm1d(WIDTH),
            nn.ReLU(),
            nn.Conv1d(WIDTH, WIDTH, 4, 2, 1, bias=False, padding_mode="replicate"),
            nn.BatchNorm1d(WIDTH),
            nn.ReLU(),
            nn.Conv1d(WIDTH, WIDTH, 4, 2, 1, bias=False, padding_mode="replicate"),
            nn.BatchNorm1d(WIDTH),
            nn.ReLU(),
            nn.Dropout(0.1),
            Temporal(WIDTH),
            Temporal(WIDTH),
        )

    def forward(self, log_mel: Tensor) -> Tensor:
        result: Tensor = self.body(((log_mel + 3.0) / 3.0).transpose(1, 2)).transpose(1, 2)
        return result


class Layer(nn.Module):
    """A pre-norm transformer layer without masks."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.before_attention, self.before_mix = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, width = x.shape
        parts = self.query_key_value(self.before_attention(x)).reshape(batch, steps, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        weight = torch.softmax(query @ key.transpose(2, 3) * (width // HEADS) ** -0.5, 3)
        seen = (weight @ value).transpose(1, 2).reshape(batch, steps, width)
        x = x + self.out(seen)
        mixed: Tensor = x + self.mix(self.before_mix(x))
        return mixed


def positions(steps: Tensor) -> Tensor:
    """Sinusoids [1, T, 128] for step numbers [T]."""
    rate = torch.exp(torch.arange(0, WIDTH, 2, dtype=torch.float32) * (-6.0 / WIDTH))
    angle = steps[:, None].float() * rate[None]
    return torch.cat([torch.sin(angle), torch.cos(angle)], 1)[None]


class Texture(nn.Module):
    """Pictures [B, N, 2, height, width] → one logit [B] from mean and deviation over places and pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.body = nn.Sequential(_conv(24, 48, 2), _conv(48, 48), _conv(48, 96, 2))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(192, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        batch, count = pictures.shape[0], pictures.shape[1]
        x = self.body(self.stem(pictures.flatten(0, 1)))
        x = x.reshape(batch, count, 96, -1).transpose(1, 2).flatten(2)
        mean = x.mean(2)
        deviation = torch.sqrt(((x - mean[:, :, None]) ** 2).mean(2) + 1e-4)
        logit: Tensor = self.head(torch.cat([mean, deviation], 1))
        return logit.squeeze(1)


def voice_texture_input(log_mel: Tensor) -> Tensor:
    """log_mel [B, 4 T, 64] → [B, 1, 2, 4 T, 64]: as it is, and without each band's mean, which a microphone colours."""
    x = (log_mel + 3.0) / 3.0
    return torch.stack([x, x - x.mean(1, keepdim=True)], 1)[:, None]


def lip_texture_input(mouths: Tensor) -> Tensor:
    """mouths [B, T, 64, 64] → [B, N, 2, 64, 64]: every sixth one standardised, and its residue of neighbouring pixels."""
    x = mouths[:, ::6]
    mean = x.mean((2, 3), keepdim=True)
    x = (x - mean) / torch.sqrt(((x - mean) ** 2).mean((2, 3), keepdim=True) + 25.0)
    flat = x.flatten(0, 1)[:, None]
    smooth = functional.interpolate(functional.avg_pool2d(flat, 2), scale_factor=2.0, mode="nearest")
    return torch.cat([flat, 4.0 * (flat - smooth)], 1).reshape(x.shape[0], x.shape[1], 2, 64, 64)


class AudioVisualNet(nn.Module):
    """mouths, log_mel, has_video, has_audio → logits, count_logits, lip_embedding, voice_embedding; see export.report_audio_visual."""

    def __init__(self) -> None:
        super().__init__()
        self.lip_front, self.voice_front = LipFront(), VoiceFront()
        self.lip_sync, self.voice_sync = nn.Linear(WIDTH, SYNC_WIDTH), nn.Linear(WIDTH, SYNC_WIDTH)
        self.lip_encoder = nn.Sequential(Layer(), Layer())
        self.voice_encoder = nn.Sequential(Layer(), Layer())
        self.no_video = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.no_audio = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.modality = nn.Parameter(torch.randn(2, WIDTH) * 0.1)
        self.cls_token = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.fake_token = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.decoder = nn.Sequential(Layer(), Layer(), nn.LayerNorm(WIDTH))
        self.labels, self.count = nn.Linear(WIDTH, 2), nn.Linear(WIDTH, 3)
        self.lip_texture, self.voice_texture = Texture(), Texture()
        self.trust = nn.Parameter(torch.full((2,), 0.2))

    def forward(self, mouths: Tensor, log_mel: Tensor, has_video: Tensor, has_audio: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        lips, voice = self.lip_front(mouths), self.voice_front(log_mel)
        labels, count = self.judge(lips, voice, has_video, has_audio)
        labels = self.trust * labels + self.textures(mouths, log_mel, has_video, has_audio)
        return labels, count, *self.embeddings(lips, voice)

    def textures(self, mouths: Tensor, log_mel: Tensor, has_video: Tensor, has_audio: Tensor) -> Tensor:
        """What the textures add to the labels [B, 2]; nothing for a missing modality."""
        lips, voice = self.lip_texture(lip_texture_input(mouths)), self.voice_texture(voice_texture_input(log_mel))
        return torch.stack([has_video * lips, has_audio * voice], 1)

    def embeddings(self, lips: Tensor, voice: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors [B, T, 64] of the two front-ends' outputs: equal index, same moment."""
        return functional.normalize(self.lip_sync(lips), dim=2, eps=1e-6), functional.normalize(self.voice_sync(voice), dim=2, eps=1e-6)

    def judge(self, lips: Tensor, voice: Tensor, has_video: Tensor, has_audio: Tensor) -> tuple[Tensor, Tensor]:
        """(labels [B, 2], count [B, 3]) from the front-ends' outputs [B, T, 128]; training pairs one face with several voices here."""
        where = positions(torch.cumsum(torch.ones_like(lips[0, :, 0]), 0))
        seen, heard = has_video[:, None, None], has_audio[:, None, None]
        lips = seen * lips + (1 - seen) * self.no_video
        voice = heard * voice + (1 - heard) * self.no_audio
        lips = self.lip_encoder(lips + where) + self.modality[0]
        voice = self.voice_encoder(voice + where) + self.modality[1]
        zero = torch.zeros_like(lips[:, :1])
        joint = self.decoder(torch.cat([zero + self.cls_token, zero + self.fake_token, lips, voice], 1))
        return self.labels(joint[:, 0]), self.count(joint[:, 1])

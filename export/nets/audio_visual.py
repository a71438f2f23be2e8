"""The lip–voice net: the dual-label AVSR layout of arXiv 2307.14491 in miniature, with sync embeddings read before the modalities meet.

    mouths → 6-frame stem → small residual CNN → temporal convs ─┬→ lip_embedding            log_mel → Conv1d stack ─┬→ voice_embedding
                                                                  └→ encoder layer ─┐                                  └→ encoder layer ─┐
                                    [cls_token, fake_token, video steps, audio steps] → 2-layer joint decoder → logits, count, frames

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
INNER = (slice(10, 58), slice(8, 56))  # rows and columns of a mouth crop that are looked at: lips and chin
INNER_PX = 48
STACK = 6  # pictures that the stem sees at once; two steps come out, so that the costly part runs at 12.5 Hz


def conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """3 × 3 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(conv(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

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
    """mouths [B, T, 64, 64] 0..255 (or their inner 48 × 48) → [B, T, 128]; a step sees about ±6 steps (0.25 s)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(STACK, 32, 8, 4, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.body = nn.Sequential(conv(32, 64, 2), Residual(64), conv(64, 96, 2))
        self.flat = nn.Sequential(nn.Conv2d(96, 2 * WIDTH, 3, bias=False), nn.BatchNorm2d(2 * WIDTH), nn.ReLU(), nn.Dropout(0.1))
        self.time = nn.Sequential(Temporal(WIDTH), Temporal(WIDTH))

    def forward(self, mouths: Tensor) -> Tensor:
        inner = mouths if mouths.shape[-1] == INNER_PX else mouths[:, :, INNER[0], INNER[1]]
        batch, steps = inner.shape[0], inner.shape[1]
        mean = inner.mean((1, 2, 3), keepdim=True)
        deviation = torch.sqrt(((inner - mean) ** 2).mean((1, 2, 3), keepdim=True) + 25.0)
        x = (inner - mean) / deviation
        padded = torch.cat([x[:, :1], x[:, :1], x, x[:, -1:], x[:, -1:], x[:, -1:]], 1)
        stacked = torch.stack([padded[:, shift : shift + steps : 2] for shift in range(STACK)], 2)
        x = self.flat(self.body(self.stem(stacked.flatten(0, 1)))).reshape(batch, -1, WIDTH)[:, :steps]
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


def positions(like: Tensor) -> Tensor:
    """Sinusoids [1, T, 128] for the steps of `like` [B, T, 128]."""
    steps = torch.cumsum(torch.ones_like(like[0, :, 0]), 0)
    rate = torch.exp(torch.arange(0, WIDTH, 2, dtype=torch.float32) * (-6.0 / WIDTH))
    angle = steps[:, None].float() * rate[None]
    return torch.cat([torch.sin(angle), torch.cos(angle)], 1)[None]


class Texture(nn.Module):
    """Pictures [B, N, 2, height, width] → (a logit for each [B], a logit for each picture and row [B, N, height / 8])."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(conv(width, 2 * width, 2), conv(2 * width, 2 * width), conv(2 * width, 4 * width, 2))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8 * width, 1))
        self.each = nn.Linear(8 * width, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        batch, count = pictures.shape[0], pictures.shape[1]
        x = self.body(self.stem(pictures.flatten(0, 1)))
        rows = x.reshape(batch, count, x.shape[1], x.shape[2], x.shape[3]).permute(0, 1, 3, 2, 4)
        whole = rows.permute(0, 3, 1, 2, 4).flatten(2)
        return self.head(_mean_and_deviation(whole)).squeeze(1), self.each(_mean_and_deviation(rows)).squeeze(3)


def _mean_and_deviation(x: Tensor) -> Tensor:
    """[…, C, places] → […, 2 C]."""
    mean = x.mean(-1)
    return torch.cat([mean, torch.sqrt(((x - mean[..., None]) ** 2).mean(-1) + 1e-4)], -1)


EVERY = 20  # steps between two mouths whose texture is looked at


def voice_texture_input(log_mel: Tensor) -> Tensor:
    """log_mel [B, 4 T, 64] → [B, 1, 2, 4 T, 64]: as it is, and without each band's mean, which a microphone colours."""
    x = (log_mel + 3.0) / 3.0
    return torch.stack([x, x - x.mean(1, keepdim=True)], 1)[:, None]


def lip_texture_input(mouths: Tensor) -> Tensor:
    """mouths [B, T, 64, 64] → [B, N, 2, 64, 64]: every twentieth one standardised, and its residue of neighbouring pixels."""
    x = mouths[:, ::EVERY]
    mean = x.mean((2, 3), keepdim=True)
    x = (x - mean) / torch.sqrt(((x - mean) ** 2).mean((2, 3), keepdim=True) + 25.0)
    flat = x.flatten(0, 1)[:, None]
    smooth = functional.interpolate(functional.avg_pool2d(flat, 2), scale_factor=2.0, mode="nearest")
    return torch.cat([flat, 4.0 * (flat - smooth)], 1).reshape(x.shape[0], x.shape[1], 2, 64, 64)


class AudioVisualNet(nn.Module):
    """mouths, log_mel, has_video, has_audio → logits, count_logits, lip_embedding, voice_embedding, frame_logits."""

    def __init__(self) -> None:
        super().__init__()
        self.lip_front, self.voice_front = LipFront(), VoiceFront()
        self.lip_sync, self.voice_sync = nn.Linear(WIDTH, SYNC_WIDTH), nn.Linear(WIDTH, SYNC_WIDTH)
        self.lip_encoder, self.voice_encoder = Layer(), Layer()
        self.no_video = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.no_audio = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.modality = nn.Parameter(torch.randn(2, WIDTH) * 0.1)
        self.cls_token = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.fake_token = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.decoder = nn.Sequential(Layer(), Layer(), nn.LayerNorm(WIDTH))
        self.labels, self.count, self.moments = nn.Linear(WIDTH, 2), nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 2)
        self.lip_texture, self.voice_texture = Texture(), Texture()
        self.trust = nn.Parameter(torch.full((2,), 0.2))

    def forward(
        self, mouths: Tensor, log_mel: Tensor, has_video: Tensor, has_audio: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        lips, voice = self.lip_front(mouths), self.voice_front(log_mel)
        labels, count, moments = self.judge(lips, voice, has_video, has_audio)
        textures, fine = self.textures(mouths, log_mel, has_video, has_audio)
        lip_embedding, voice_embedding = self.embeddings(lips, voice)
        return self.trust * labels + textures, count, lip_embedding, voice_embedding, self.trust * moments + fine

    def textures(self, mouths: Tensor, log_mel: Tensor, has_video: Tensor, has_audio: Tensor) -> tuple[Tensor, Tensor]:
        """What the textures add to the labels [B, 2] and to the steps [B, T, 2]; nothing for a missing modality."""
        lips, voice = self.seen_texture(mouths), self.heard_texture(log_mel)
        has = torch.stack([has_video, has_audio], 1)
        return has * torch.stack([lips[0], voice[0]], 1), has[:, None] * torch.stack([lips[1], voice[1][:, : mouths.shape[1]]], 2)

    def seen_texture(self, mouths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B] and by step [B, T] of what the pictures show."""
        whole, each_picture = self.lip_texture(lip_texture_input(mouths))
        return whole, each_picture.mean(2).repeat_interleave(EVERY, 1)[:, : mouths.shape[1]]

    def heard_texture(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B] and by step [B, T or T + 1] of what the bands show."""
        whole, each_row = self.voice_texture(voice_texture_input(log_mel))
        return whole, each_row.flatten(1).repeat_interleave(2, 1)

    def embeddings(self, lips: Tensor, voice: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors [B, T, 64] of the two front-ends' outputs: equal index, same moment."""
        return functional.normalize(self.lip_sync(lips), dim=2, eps=1e-6), functional.normalize(self.voice_sync(voice), dim=2, eps=1e-6)

    def judge(self, lips: Tensor, voice: Tensor, has_video: Tensor, has_audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(labels [B, 2], count [B, 3], labels of each step [B, T, 2]) from the front-ends' outputs [B, T, 128]."""
        where, steps = positions(lips), lips.shape[1]
        seen, heard = has_video[:, None, None], has_audio[:, None, None]
        lips = seen * lips + (1 - seen) * self.no_video
        voice = heard * voice + (1 - heard) * self.no_audio
        lips = self.lip_encoder(lips + where) + self.modality[0]
        voice = self.voice_encoder(voice + where) + self.modality[1]
        zero = torch.zeros_like(lips[:, :1])
        joint = self.decoder(torch.cat([zero + self.cls_token, zero + self.fake_token, lips, voice], 1))
        moments = torch.stack([self.moments(joint[:, 2 : 2 + steps])[:, :, 0], self.moments(joint[:, 2 + steps :])[:, :, 1]], 2)
        return self.labels(joint[:, 0]), self.count(joint[:, 1]), moments

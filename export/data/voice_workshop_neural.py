"""Small neural vocoders, trained here for a few minutes on the pool's genuine training speech, so that their copies can be labelled forged.

Three ways from frames to samples, each with traces of its own: an inverse STFT of a turned pulse source (as Vocos and HiFTNet),
transposed convolutions beside a pulse source (as NSF-HiFi-GAN), and a codec with scalar-quantised latents. They are trained by
multi-resolution spectra alone, without a discriminator: minutes, not days, and they sound like it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from export.data.voice_workshop_signal import Kind, excitation, mel_filters, pitch_hz
from export.training import backward

Floats = NDArray[np.float32]
HOP, SIZE = 256, 1024
CUT = 8192  # samples a training clip, 0.51 s
BATCH = 16
STEPS = 240


class Frames(nn.Module):
    """ConvNeXt blocks over frames [B, width, T]: a wide depthwise convolution, then two products."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 7, padding=3, groups=width),
                nn.GroupNorm(1, width),
                nn.Conv1d(width, 3 * width, 1),
                nn.GELU(),
                nn.Conv1d(3 * width, width, 1),
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class InverseSTFT(nn.Module):
    """Frames [B, width, T] → samples [B, 256 T]: an STFT, or a complex gain for each bin of the STFT of `carrier` [B, n], inverted."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Conv1d(width, 3 * (SIZE // 2 + 1), 1)

    def forward(self, x: Tensor, carrier: Tensor | None = None) -> Tensor:
        gain, real, imaginary = self.out(x).chunk(3, 1)
        spectrum = torch.exp(gain.clamp(max=5)) * torch.complex(real, imaginary) / torch.sqrt(real**2 + imaginary**2 + 1e-6)
        window = torch.hann_window(SIZE)
        if carrier is not None:
            spectrum = spectrum * torch.stft(carrier, SIZE, HOP, window=window, return_complex=True)[:, :, :-1]
        return torch.istft(functional.pad(spectrum, (0, 1)), SIZE, HOP, window=window, length=x.shape[2] * HOP)


class MelInverse(nn.Module):
    """`mel` [B, 80, T] → samples [B, 256 T]: what pulses and noise become when each bin of their STFT is scaled and turned."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(80, 160, 7, padding=3)
        self.body, self.last = Frames(160, 4), InverseSTFT(160)

    def forward(self, samples: Tensor, mel: Tensor, pulses: Tensor) -> Tensor:
        made: Tensor = self.last(self.body(self.first(mel)), pulses)
        return made


class Upsampling(nn.Module):
    """`mel` → samples by transposed convolutions, ×8, ×8, ×4, each of which hears `pulses` [B, 256 T] at its own rate."""

    def __init__(self) -> None:
        super().__init__()
        widths = (128, 64, 32, 16)
        self.first = nn.Sequential(nn.Conv1d(80, 128, 7, padding=3), Frames(128, 3))
        self.ups, self.sources, self.mixes = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        left = HOP
        for before, after, factor in zip(widths, widths[1:], (8, 8, 4), strict=False):
            left //= factor
            self.ups.append(nn.ConvTranspose1d(before, after, 2 * factor, factor, factor // 2))
            self.sources.append(nn.Conv1d(1, after, 2 * left + 1, left, left))
            spreads = (1, 3) if left > 1 else (1,)
            self.mixes.append(nn.ModuleList(nn.Conv1d(after, after, 5, padding=2 * spread, dilation=spread) for spread in spreads))
        self.last = nn.Conv1d(widths[-1], 1, 7, padding=3)

    def forward(self, samples: Tensor, mel: Tensor, pulses: Tensor) -> Tensor:
        x = self.first(mel)
        for up, source, mixes in zip(self.ups, self.sources, self.mixes, strict=True):
            x = up(functional.leaky_relu(x, 0.1))
            x = x + source(pulses[:, None])[:, :, : x.shape[2]]
            for mix in mixes:  # type: ignore[attr-defined]
                x = x + mix(functional.leaky_relu(x, 0.1))
        made: Tensor = torch.tanh(self.last(functional.leaky_relu(x, 0.1)))[:, 0]
        return made


class Codec(nn.Module):
    """`samples` → 24 scalars of 7 levels every 16 ms (3.4 kbit/s; finite scalar quantisation) → samples."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Sequential(nn.Conv1d(HOP, 160, 3, padding=1), Frames(160, 3), nn.Conv1d(160, 24, 1))
        self.outward = nn.Sequential(nn.Conv1d(24, 160, 5, padding=2), Frames(160, 4))
        self.last = InverseSTFT(160)

    def forward(self, samples: Tensor, mel: Tensor, pulses: Tensor) -> Tensor:
        latent = 3 * torch.tanh(self.inward(8 * samples.reshape(len(samples), -1, HOP).transpose(1, 2)))
        latent = latent + (torch.round(latent) - latent).detach()
        made: Tensor = self.last(self.outward(latent))
        return made


NETS: dict[str, Callable[[], nn.Module]] = {
    "neural inverse STFT": MelInverse,
    "neural transposed with pulses": Upsampling,
    "neural codec": Codec,
}


def neural_kinds(folder: Path, clips: Sequence[Floats]) -> dict[str, Kind]:
    """The vocoders as kinds of the workshop; each is trained on `clips` (training side only) unless `folder` holds it already."""
    folder.mkdir(exist_ok=True)
    kinds = {}
    for seed, (name, make) in enumerate(NETS.items()):
        path, net = folder / f"{name.replace(' ', '_')}.pt", make()
        if not path.is_file():
            net = train_vocoder(name, clips, seed)
            torch.save(net.state_dict(), path)
        net.load_state_dict(torch.load(path))
        kinds[name] = copier(net.eval())
    return kinds


def copier(net: nn.Module) -> Kind:
    def copy(samples: Floats, rng: np.random.Generator) -> Floats:
        whole = np.pad(samples, (0, -len(samples) % HOP))
        level = np.float32(0.08 / (np.sqrt(np.mean(whole**2)) + 1e-6))
        with torch.no_grad():
            made = net(*_inputs((whole * level)[None], rng))[0, : len(samples)].numpy()
        copied: Floats = made / level
        return copied

    return copy


def train_vocoder(name: str, clips: Sequence[Floats], seed: int, steps: int = STEPS) -> nn.Module:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = NETS[name]()
    optimiser = torch.optim.AdamW(net.parameters(), 1.5e-3, betas=(0.8, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps)
    for _ in track(range(steps), f"training the vocoder '{name}'"):
        cuts = np.stack([_cut(clips[int(i)], rng) for i in rng.integers(0, len(clips), BATCH)])
        inputs = _inputs(cuts, rng)
        made = net(*inputs)
        loss = spectral_loss(made, inputs[0])
        if name == "neural codec":  # the only one that is told the phase
            loss = loss + 10 * (made - inputs[0]).abs().mean()
        optimiser.zero_grad()
        backward(loss)
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    print(f"vocoder '{name}': {steps} steps, loss {loss.item():.2f}", flush=True)
    return net


def _cut(clip: Floats, rng: np.random.Generator) -> Floats:
    clip = np.resize(clip, max(CUT, len(clip)))
    start = int(rng.integers(0, len(clip) - CUT + 1))
    cut = clip[start : start + CUT]
    return cut * np.float32(0.08 / (np.sqrt(np.mean(cut**2)) + 1e-3))


def _inputs(samples: Floats, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(samples [B, n], mel [B, 80, n/256], pulses [B, n]); n a multiple of 256."""
    sound = torch.from_numpy(samples)
    magnitude = _magnitude(sound, SIZE, HOP)[:, :, :-1]
    mel = torch.log(torch.einsum("bft,fm->bmt", magnitude, torch.from_numpy(mel_filters(80, SIZE))) + 1e-3) / 2
    pulses = np.stack([excitation(pitch_hz(clip), 160, len(clip), rng) for clip in samples]) * np.float32(0.1)
    return sound, mel, torch.from_numpy(pulses)


def _magnitude(samples: Tensor, size: int, hop: int) -> Tensor:
    spectrum = torch.stft(samples, size, hop, window=torch.hann_window(size), return_complex=True)
    return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-7)


def spectral_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Multi-resolution STFT loss (Parallel WaveGAN): spectral convergence and log-magnitude distance at three sizes."""
    total = torch.zeros(())
    for size in (256, 512, 1024):
        mine, true = _magnitude(made, size, size // 4), _magnitude(wanted, size, size // 4)
        total = total + (mine - true).norm() / true.norm() + (torch.log(mine + 1e-3) - torch.log(true + 1e-3)).abs().mean()
    return total

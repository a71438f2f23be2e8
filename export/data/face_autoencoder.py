"""A small autoencoder whose reconstructions carry what decoders leave behind: python -m export.data.face_autoencoder [--minutes 4].

One encoder to a latent of an eighth of the side (16×16×12 for a crop of a call) and three decoders that enlarge it in the three usual
ways, each with its own traces: nearest neighbour and convolution, transposed convolution, pixel shuffle. Trained on 64-px cuts of genuine
crops that no fold ever holds out (`stills`, `faces`, and the training speakers of `talk`); kept as workshop/autoencoder.pt in the cache.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.command_line import Arguments, command
from export.data.face_fold import is_held_still
from export.data.faces import FaceCache, open_cache
from export.data.pool import PoolError, cache_folder, pool_folder, read_table
from export.data.talk import split_talk
from export.training import Budget, backward, learning_rate, prepare

Image = NDArray[np.uint8]
LATENT = 12
WIDTHS = (24, 48, 64)
UPSAMPLERS = ("nearest", "transposed", "shuffle")
CUT_PX = 64
CUTS = 12
PEAK_RATE = 3e-3
SEED = 11
MINUTES = 4.0


class Autoencoder(nn.Module):
    """Pictures [n, 3, h, w], 0..1, h and w multiples of 8, to their reconstructions by one of the decoders."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, *WIDTHS)
        downs = [nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.SiLU()) for a, b in pairwise(sizes)]
        self.encoder = nn.Sequential(*downs, nn.Conv2d(WIDTHS[-1], LATENT, 1))
        self.decoders = nn.ModuleDict({name: _decoder(name) for name in UPSAMPLERS})

    def forward(self, pictures: Tensor, upsampler: str) -> Tensor:
        found: Tensor = self.decoders[upsampler](self.encoder(pictures * 2 - 1))
        return found / 2 + 0.5


def _decoder(upsampler: str) -> nn.Sequential:
    widths = WIDTHS[::-1]
    ups = [_larger(upsampler, a, b) for a, b in zip(widths, (*widths[1:], 16), strict=True)]
    return nn.Sequential(nn.Conv2d(LATENT, widths[0], 3, 1, 1), nn.SiLU(), *ups, nn.Conv2d(16, 3, 3, 1, 1))


def _larger(upsampler: str, wide: int, narrow: int) -> nn.Sequential:
    """Twice the side, `wide` to `narrow` channels."""
    if upsampler == "nearest":
        return nn.Sequential(nn.Upsample(scale_factor=2.0), nn.Conv2d(wide, narrow, 3, 1, 1), nn.SiLU())
    if upsampler == "transposed":
        return nn.Sequential(nn.ConvTranspose2d(wide, narrow, 3, 2, 1, output_padding=1), nn.SiLU())
    return nn.Sequential(nn.Conv2d(wide, 4 * narrow, 3, 1, 1), nn.PixelShuffle(2), nn.SiLU())


def weights_path() -> Path:
    return cache_folder("workshop") / "autoencoder.pt"


@lru_cache(maxsize=1)
def load_autoencoder() -> Autoencoder:
    """The trained net, ready to judge. Raises PoolError when it was not trained yet."""
    path = weights_path()
    if not path.is_file():
        raise PoolError(f"{path} is missing; python -m export.data.face_autoencoder trains it (4 minutes of one core)")
    net = Autoencoder().eval()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net


@torch.inference_mode()
def reconstructed(pictures: Image, upsampler: str) -> Image:
    """Pictures uint8 [n, h, w, 3], sides multiples of 8, as the autoencoder remembers them."""
    batch = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float() / 255
    found = load_autoencoder()(batch, upsampler)
    return np.ascontiguousarray((found.clamp(0, 1) * 255 + 0.5).byte().numpy().transpose(0, 2, 3, 1))


def cuts_of(cache: FaceCache, genuine: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Random cuts of random genuine crops, some of them scaled: float32 [n, 3, 64, 64], 0..1."""
    out = np.empty((CUTS, CUT_PX, CUT_PX, 3), np.uint8)
    for slot in range(CUTS):
        wide = np.asarray(cache.crops[genuine[int(rng.integers(len(genuine)))]])
        side = int(rng.integers(CUT_PX, 113)) if rng.random() < 0.4 else CUT_PX
        x, y = rng.integers(0, wide.shape[0] - side + 1, 2)
        part = wide[y : y + side, x : x + side]
        out[slot] = part if side == CUT_PX else cv2.resize(part, (CUT_PX, CUT_PX), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(out.transpose(0, 3, 1, 2))).float() / 255


def never_held(cache: FaceCache, pool: Path) -> list[int]:
    """Genuine rows that train whatever the fold."""
    talk = {row["file"] for row in split_talk(read_table(pool / "data" / "talk"))[0]}
    always = {"stills", "faces"}
    genuine = [i for i, row in enumerate(cache.rows) if not row.fake and not is_held_still(row)]
    return [i for i in genuine if cache.rows[i].pool in always or (cache.rows[i].pool == "talk" and cache.rows[i].clip in talk)]


def train(cache: FaceCache, genuine: Sequence[int], minutes: float) -> Autoencoder:
    """Mean absolute error of pictures and of their gradients; the decoders take turns."""
    rng = prepare(SEED)
    net = Autoencoder()
    optimiser = torch.optim.Adam(net.parameters(), lr=PEAK_RATE)
    budget, recent = Budget(minutes), 0.2
    for step in budget:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(budget.share, PEAK_RATE)
        wanted = cuts_of(cache, genuine, rng)
        found = net(wanted, UPSAMPLERS[step % len(UPSAMPLERS)])
        error = found - wanted
        loss = error.abs().mean() + 0.5 * (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean())
        optimiser.zero_grad()
        backward(loss)
        optimiser.step()
        recent += 0.02 * (error.abs().mean().item() - recent)
        if step % 200 == 0:
            print(f"{budget.spent_s:4.0f} s, step {step}, mean error {255 * recent:.1f} levels", flush=True)
    return net.eval()


def train_and_keep(cache: FaceCache, pool: Path, minutes: float = MINUTES) -> None:
    net = train(cache, never_held(cache, pool), minutes)
    part = weights_path().with_suffix(".part")
    torch.save(net.state_dict(), part)
    os.replace(part, weights_path())


@command
def main() -> None:
    parser = Arguments(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    options = parser.parse_args()
    pool = pool_folder(options.pool)
    train_and_keep(open_cache(pool), pool, options.minutes)
    print(f"kept in {weights_path()}")


if __name__ == "__main__":
    main()

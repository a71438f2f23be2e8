"""The direction among the speech encoder's numbers in which generated speech of the pool differs from recorded: one solved equation."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from export.data.pool import Row, cache_folder, even_shares
from export.data.sound import cut
from export.moonshine import small_encoder
from export.nets.speech_encoder import SpeechEncoder, encoder_of
from export.nets.voice import VoiceNet
from export.nets.voice_judge import FARTHEST, Manner, VoiceJudge
from export.to_onnx import MODELS
from export.train_voice import score
from export.voice_material import WINDOW, Material
from export.voice_measures import families
from monitor.errors import ConfigError
from monitor.speech.features import fixed_rms, log_spectrum

Floats = NDArray[np.float32]
SHIPPED = MODELS / "voice_forgery.onnx"
RIDGE = 0.2  # of the variance of a standardised number
LEAST_SPREAD = 1e-3
PAGE_SHARE, LEAST_OF_PAGE = 0.5, 5  # taken from the clips of a page; genuine clips without which a page is not known
SAY = 1.0  # of the encoder's beside the net's
AT_ONCE = 8
PIECES = 3  # that are heard of a clip


def middle_of(samples: Floats) -> Floats:
    """The middle 2.4 s, repeated where there is less, at fixed RMS."""
    spare = max(0, len(samples) - WINDOW) // 2
    return fixed_rms(cut(samples[spare : spare + WINDOW], WINDOW, np.random.default_rng(0)))


def numbers_of(encoder: SpeechEncoder, material: Material) -> Floats:
    """Numbers of every training clip of voices and talk: both halves of its middle 2.4 s, the last codec-worn too: float32 [rows, 3, 576].

    Kept in the cache; some 140 s of one core the first time.
    """
    state = b"".join(value.numpy().tobytes() for _, value in sorted(encoder.state_dict().items()))
    rows = [row["file"] for row in rows_of(material)]
    path = material.cache / f"halves_{sha256(state + repr(rows).encode()).hexdigest()[:12]}.npy"
    if not path.exists():
        pieces = track(_halves(material), "what the encoder hears", total=PIECES * len(rows))
        found = [_heard(encoder, piece) for piece in _grouped(pieces)]
        np.save(path, np.concatenate(found).reshape(len(rows), PIECES, -1).astype(np.float16))
    numbers: Floats = np.load(path).astype(np.float32)
    return numbers


def rows_of(material: Material) -> list[Row]:
    return material.voices.train + material.talk.train


def direction(rows: Sequence[Row], numbers: Floats) -> Manner:
    """Fisher's, over `numbers` [rows, …, d]: sources of genuine clips and generators of forged ones weigh evenly.

    Half of what a page's genuine clips have in common is taken from all its clips, and the direction in which such pages differ most has
    no say (nuisance attribute projection: Solomonoff, Campbell and Boardman, ICASSP 2005): most fakes come from pages that sound alike.
    """
    fake = np.array([row["label"] == "fake" for row in rows])
    share = np.zeros(len(rows))
    for side, column in ((fake, "generator"), (~fake, "source")):
        share[side] = even_shares([row[column] for row, wanted in zip(rows, side, strict=True) if wanted])
    every = numbers.reshape(len(rows), -1, numbers.shape[-1]).astype(np.float64)
    centre, spread = every[~fake].mean((0, 1)), every[~fake].std((0, 1)) + LEAST_SPREAD
    standard = np.clip((every - centre) / spread, -FARTHEST, FARTHEST)
    moved, across = less_of_pages(standard, [row["source"] for row in rows], fake, share)
    means = {side: share[where] @ moved[where].mean(1) for side, where in (("fake", fake), ("real", ~fake))}
    apart = moved - np.where(fake[:, None, None], means["fake"], means["real"])
    within = np.einsum("n,nvd,nve->de", share / every.shape[1], apart, apart, optimize=True) / 2
    difference = means["fake"] - means["real"]
    if across is not None:
        kept = np.eye(len(across)) - np.outer(across, across)
        within, difference = kept @ within @ kept, kept @ difference
    weight = np.linalg.solve(within + RIDGE * np.eye(len(within)), difference)
    genuine = standard[~fake] @ weight
    scale = 1 / genuine.std()
    bias = float(-genuine.mean() * scale)
    return Manner(torch.from_numpy(centre), torch.from_numpy(spread), torch.from_numpy(weight * scale), bias)


def less_of_pages(
    standard: NDArray[np.float64], pages: Sequence[str], fake: NDArray[np.bool_], share: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """(`standard` [rows, n, d] less PAGE_SHARE of what the genuine clips of each page have in common; the unit vector along which pages
    differ most, or None where fewer than two have LEAST_OF_PAGE genuine clips).
    """
    usual, where = share[~fake] @ standard[~fake].mean(1), np.array(pages)
    own = {page: np.flatnonzero((where == page) & ~fake) for page in sorted(set(pages))}
    looks = {page: standard[clips].mean((0, 1)) - usual for page, clips in own.items() if len(clips) >= LEAST_OF_PAGE}
    moved = standard.copy()
    for page, look in looks.items():
        moved[where == page] -= PAGE_SHARE * look
    across = np.linalg.eigh(np.cov(np.stack(list(looks.values())).T))[1][:, -1] if len(looks) > 1 else None
    return moved, across


def _halves(material: Material) -> Iterator[Floats]:
    """[19,200] of each clip: first and last half, and the last codec-worn."""
    for voices, rows in ((material.voices, material.voices.train), (material.talk, material.talk.train)):
        for row in rows:
            plain, worn = (middle_of(voices.samples(row, each)) for each in (False, True))
            yield from (plain[: WINDOW // 2], plain[WINDOW // 2 :], worn[WINDOW // 2 :])


def _grouped(pieces: Iterable[Floats]) -> Iterator[Floats]:
    group: list[Floats] = []
    for piece in pieces:
        group.append(piece)
        if len(group) == AT_ONCE:
            yield np.stack(group)
            group = []
    if group:
        yield np.stack(group)


@torch.no_grad()
def _heard(encoder: SpeechEncoder, sounds: Floats) -> Floats:
    heard: Floats = encoder(torch.from_numpy(sounds)).numpy()
    return heard


def examples_of(material: Material, count: int = 240) -> Floats:
    """Speech of training clips, [count, 38,400], for what is fitted to the encoder's own outputs."""
    rng, rows = np.random.default_rng(0), material.voices.train
    return np.stack([middle_of(material.voices.samples(rows[i], bool(i % 2))) for i in rng.choice(len(rows), count, replace=False)])


def encoder_for(material: Material, theirs: Path | None) -> SpeechEncoder:
    """Made of Moonshine's file `theirs`, else the one inside the voice net that ships."""
    return small_encoder(theirs, examples_of(material)) if theirs else encoder_of(SHIPPED)


def ear_file(without: str = "") -> Path:
    """Where export.voice_ear keeps what it trained."""
    return cache_folder("runs") / f"ear{without and '_without_' + without.replace(' ', '_')}.npz"


def ear_for(material: Material, theirs: Path | None, without: str = "") -> SpeechEncoder:
    """The trained ear where there is one; for a family left out one that never heard it, or ConfigError."""
    path = ear_file(without)
    if path.is_file():
        return SpeechEncoder({name: torch.from_numpy(value) for name, value in np.load(path).items()})
    if without:
        raise ConfigError(
            f"no ear was trained without that family; train one with python -m export.voice_ear --encoder FILE --without '{without}'"
        )
    return encoder_for(material, theirs)


def with_manner(net: VoiceNet, encoder: SpeechEncoder, material: Material, without: str = "") -> VoiceJudge:
    """`net` and what the encoder says, over which held genuine clips spread as much (SAY). `without`: a family left out."""
    rows, table = rows_of(material), families()
    kept = [index for index, row in enumerate(rows) if not without or table.get(row["generator"]) != without]
    manner = direction([rows[index] for index in kept], numbers_of(encoder, material)[kept])
    genuine = [middle_of(material.voices.samples(row, worn=False)) for row in material.voices.held if row["label"] == "real"]
    share = SAY * float(score(net, np.stack([log_spectrum(sound) for sound in genuine])).std())
    return VoiceJudge(net, encoder, manner, share).eval()

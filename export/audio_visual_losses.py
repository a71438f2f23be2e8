"""What the lip–voice net is asked for: one's own voice among all voices and moments, units, characters, labels."""

import math

import torch
from torch import Tensor
from torch.nn import functional

UNKNOWN = -1.0
NEAR = 0.15  # a neighbouring step, 40 ms off, is half right: the clips are in step within about a frame
LOOSE_STEPS = 2  # where the lag was only measured, any lag this near may be the right one


def standardised(vectors: Tensor) -> Tensor:
    """[N, T, D] without each clip's mean, scaled to a mean square length of 1: as `monitor.alerts.sync` reads them."""
    centred = vectors - vectors.mean(1, keepdim=True)
    power = (centred**2).sum(2).mean(1).clamp(min=1e-4)
    return centred / power.sqrt()[:, None, None]


def curves(lips: Tensor, voice: Tensor, reach: int) -> Tensor:
    """Correlation of every clip's lips with every clip's voice at lags −reach…reach: [N, N, lags], from [N, T, D] each."""
    clips, steps = lips.shape[:2]
    every = torch.einsum("ntd,msd->nmts", standardised(lips), standardised(voice)).reshape(clips * clips, steps * steps)
    along = torch.stack([torch.diag(torch.ones(steps - abs(lag)), lag).flatten() for lag in range(-reach, reach + 1)], 1) / steps
    return (every @ along).reshape(clips, clips, 2 * reach + 1)


def sync_loss(lips: Tensor, voice: Tensor, lag: Tensor, sure: Tensor, sharpness: Tensor) -> Tensor:
    """Each clip's lips must find their own voice and lag among all voices and all lags, and each voice its lips.

    `lag` [N]: step t of the lips is the moment of step t + lag of the voice. Where it is not `sure`, the best lag near it counts.
    """
    clips, steps = lips.shape[:2]
    reach = min(steps - 8, 30)
    every = curves(lips, voice, reach) * sharpness[1]
    own = torch.stack([every[clip, clip] for clip in range(clips)])
    distance = (torch.arange(-reach, reach + 1)[None] - lag[:, None]).abs()
    strict = (distance == 0).float() * (1 - 2 * NEAR) + (distance == 1).float() * NEAR
    loose = (distance <= LOOSE_STEPS).float()
    among_lags = _right_share(own, own, strict, loose, sure)
    among_voices = _right_share(own, every.flatten(1), strict, loose, sure)
    among_lips = _right_share(own, every.transpose(0, 1).flatten(1), strict, loose, sure)
    return (among_lags + among_voices + among_lips).mean()


def _right_share(own: Tensor, rivals: Tensor, strict: Tensor, loose: Tensor, sure: Tensor) -> Tensor:
    """Negative log of the share [N] that the right lags have of all `rivals` in a softmax."""
    total = rivals.logsumexp(1)
    exact = total - (strict * own).sum(1) / strict.sum(1).clamp(min=1e-6)
    about = total - (own + torch.log(loose + 1e-9)).logsumexp(1)
    return torch.where(sure & (strict.sum(1) > 0), exact, about)


def step_loss(lips: Tensor, voice: Tensor, lag: Tensor, sharpness: Tensor) -> Tensor:
    """Every step of the lips among all steps of all voices, and the other way round; cosines [N, T, D]."""
    steps = lips.shape[1]
    flat = lips.flatten(0, 1) @ voice.flatten(0, 1).T * sharpness[0]
    distance = torch.arange(steps)[None, None] - torch.arange(steps)[None, :, None] - lag[:, None, None]
    share = (distance == 0).float() * (1 - 2 * NEAR) + (distance.abs() == 1).float() * NEAR
    right: Tensor = torch.block_diag(*share)  # type: ignore[no-untyped-call]
    return _soft_cross_entropy(flat, right) + _soft_cross_entropy(flat.T, right.T)


def _soft_cross_entropy(logits: Tensor, right: Tensor) -> Tensor:
    """Cross-entropy with shares as targets; rows without a target (the moment lies outside the other's stretch) do not count."""
    has = right.sum(1) > 0
    return -(functional.log_softmax(logits[has], 1) * right[has] / right[has].sum(1, keepdim=True)).sum(1).mean()


def correlation_loss(lips: Tensor, voice: Tensor, lip_units: Tensor, voice_units: Tensor, likeness: Tensor) -> Tensor:
    """Correlation from content (arXiv 2404.19171): a cosine follows how far the two unit posteriors of the same pair of steps agree.

    Agreement = 1 − Jensen–Shannon divergence in bits, of the frozen posteriors (logits [N, T, 96] without gradient), over all pairs of
    steps of a clip's own lips and voice and of its lips and the next clip's voice. `likeness`: slope and base from cosine to agreement.
    """
    seen, heard = lip_units.softmax(2), voice_units.softmax(2)
    losses = []
    for turn in (0, 1):
        other = heard.roll(turn, 0)
        middle = _entropy(0.5 * (seen[:, :, None] + other[:, None]))
        gap = (middle - 0.5 * (_entropy(seen)[:, :, None] + _entropy(other)[:, None])) / math.log(2)
        cosine = torch.einsum("ntd,nsd->nts", lips, voice.roll(turn, 0))
        losses.append(((likeness[0] * cosine + likeness[1] - (1 - gap)) ** 2).mean())
    return torch.stack(losses).mean()


def _entropy(chances: Tensor) -> Tensor:
    """In nats, over the last dimension."""
    return -(chances * (chances + 1e-9).log()).sum(-1)


def pupil_loss(vectors: Tensor, taught: Tensor) -> Tensor:
    """One minus the cosine to the teacher's unit vectors; 1, without gradient to speak of, where these are zero."""
    return 1 - functional.cosine_similarity(vectors.float(), taught, dim=2).mean()


def unit_loss(logits: Tensor, units: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, -2).float(), units.flatten(), label_smoothing=0.1)


def character_loss(log_probabilities: Tensor, texts: list[list[int]]) -> Tensor:
    """CTC over [T, B, C + 1]; per character."""
    lengths = torch.tensor([len(text) for text in texts])
    targets = torch.tensor([number for text in texts for number in text])
    seen = torch.full((log_probabilities.shape[1],), log_probabilities.shape[0])
    return functional.ctc_loss(log_probabilities, targets, seen, lengths, zero_infinity=True)


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy with chances [..., 2] where they are known (not −1), each modality weighing the same."""
    known = (labels != UNKNOWN).float()  # absent modalities and unlabelled ones
    each = functional.binary_cross_entropy_with_logits(logits, labels.clamp(0.03, 0.97), reduction="none") * known
    counted = tuple(range(labels.dim() - 1))
    return (each.sum(counted) / known.sum(counted).clamp(min=1)).sum()


def count_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """How many modalities are forged, where both are known; chances above a half count as forged."""
    known = (labels != UNKNOWN).all(1)
    if not known.any():
        return logits.sum() * 0
    return functional.cross_entropy(logits[known], (labels[known] > 0.5).sum(1).long(), label_smoothing=0.05)

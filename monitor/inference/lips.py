"""Whether lips and a voice can be compared at all: not when a face grimaces to music, or something is held before the mouth."""

import numpy as np
from numpy.typing import NDArray

from monitor.alerts.sync import compared, fit
from monitor.media import LipsAndVoice, Reason

STILL_LIPS = 1.2  # mean change of a mouth crop per picture, in grey levels of 255, below which nobody talks
COVERED_STEPS = 5  # 0.2 s
COVERED = 1.4  # change of a mouth crop within them, in its own contrasts; 2 % of training talk have more somewhere in 2.4 s
LOST_STEPS = 3  # 0.12 s
STILL_EMBEDDINGS = 0.2  # mean change of the lip embedding from step to step; 1 % of held-out talk lies below .218
MONOTONOUS = 0.24  # variance of the voice embedding while it speaks; 5 % of held-out talk lie below, music at .13 to .24


def why_mute(mouths: NDArray[np.float32], heard: LipsAndVoice) -> Reason | None:
    """`mouths`: float32 [steps, 64, 64], 0..255, that `heard` came from. Grimaces, smiles and chewing move lips and say nothing, a hand or
    a sheet of paper hides what they say, and music that was taken for speech says nothing that lips could. A face that was lost for a
    moment, turned away or blurred, shows lips before and after it that say little.
    """
    if lost(heard.seen):
        return "face_blurred"
    tell = lips_move(mouths) and not covered(mouths) and lips_speak(heard) and voice_speaks(heard)
    return None if tell else "not_speaking"


def lips_move(mouths: NDArray[np.float32]) -> bool:
    return float(np.abs(np.diff(_inner(mouths), axis=0)).mean()) >= STILL_LIPS


def covered(mouths: NDArray[np.float32]) -> bool:
    """Whether the mouth turns into something else within 0.2 s."""
    inner = _inner(mouths)
    contrast = float(np.sqrt((inner**2).mean((1, 2))).mean())
    change = np.abs(inner[COVERED_STEPS:] - inner[:-COVERED_STEPS]).mean((1, 2))
    return float(change.max(initial=0.0)) > COVERED * max(contrast, 1.0)


def lost(seen: NDArray[np.bool_]) -> bool:
    """Whether lips were seen, not seen for LOST_STEPS and seen again."""
    return bool((np.diff(np.flatnonzero(seen)) > LOST_STEPS).any())


def lips_speak(heard: LipsAndVoice) -> bool:
    return float(np.linalg.norm(np.diff(heard.lips, axis=0), axis=1).mean()) >= STILL_EMBEDDINGS


def voice_speaks(heard: LipsAndVoice) -> bool:
    voice = heard.voice[heard.spoken]
    return len(voice) > 0 and float(((voice - voice.mean(0)) ** 2).sum(1).mean()) >= MONOTONOUS


def how_well(heard: LipsAndVoice) -> float:
    """How well these lips fit this voice."""
    return fit(compared(heard).curve)


def _inner(mouths: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lips and chin without their mean brightness."""
    inner = mouths[:, 16:56, 12:52]
    centred: NDArray[np.float32] = inner - inner.mean((1, 2), keepdims=True)
    return centred

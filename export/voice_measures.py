"""What the reports of the voice net measure with: logits of clips, what must not decide, and which family a generator belongs to."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.data.pool import Row
from export.voice_material import WINDOW
from monitor.errors import ConfigError
from monitor.speech.features import fixed_rms, last_voice, log_spectrum, voice_samples
from monitor.speech.vad import speech_marks

Floats = NDArray[np.float32]
HOP = WINDOW // 2
MIN_SPEECH_MARKS = 30  # of 20 ms
AT_ONCE = 32
LOOKS = ("n_level_db", "n_rolloff_hz", "n_noise_db")


def clip_logit(net: torch.nn.Module, samples: Floats) -> float:
    """Mean logit over windows of 2.4 s every 1.2 s with at least 0.6 s of speech, prepared as in a call; NaN when there is none."""
    starts = range(0, max(len(samples) - HOP, 1), HOP)
    cuts = ((start, samples[start : start + WINDOW]) for start in starts)
    spoken = [(start, cut, marks) for start, cut in cuts if (marks := speech_marks(cut)).sum() >= MIN_SPEECH_MARKS]
    wholes = [voice_samples(cut, marks) for _, cut, marks in spoken]
    heard = [whole if start == 0 else last_voice(cut, marks) for (start, cut, marks), whole in zip(spoken, wholes, strict=True)]
    logits = [float(_judged(net, [whole], [each])[0][0]) for whole, each in zip(wholes, heard, strict=True)]
    return float(np.mean(logits)) if logits else float("nan")


def scores(net: torch.nn.Module, clips: list[Floats]) -> Floats:
    sounds = [fixed_rms(clip) for clip in clips]
    return _judged(net, sounds, sounds)[0]


def local_scores(net: torch.nn.Module, samples: Floats) -> Floats:
    """Local logits [steps] of one clip."""
    sound = fixed_rms(samples)
    local: Floats = _judged(net, [sound], [sound])[1][0]
    return local


@torch.no_grad()
def _judged(net: torch.nn.Module, clips: list[Floats], heard: list[Floats]) -> tuple[Floats, Floats]:
    """(logits, local logits) of clips of equal length at fixed RMS and spectra of what is `heard` of each, equally long too."""
    net.eval()
    found = []
    for start in range(0, len(clips), AT_ONCE):
        some = clips[start : start + AT_ONCE]
        spectra = torch.from_numpy(np.stack([log_spectrum(each) for each in heard[start : start + AT_ONCE]]))
        found.append(net(spectra, torch.from_numpy(np.stack(some))))
    logits, local = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    return logits, local


def looks_of(samples: Floats) -> list[float]:
    """What must not decide: level (dB), frequency below which 99 % of the power lies (Hz), quiet against loud frames (dB)."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    level = np.sqrt(np.mean(frames**2, axis=1)) + 1e-6
    power = np.cumsum(np.abs(np.fft.rfft(samples)) ** 2)
    rolloff = float(np.searchsorted(power, 0.99 * power[-1]) / len(power) * 8000)
    loudness = float(20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-6))
    return [loudness, rolloff, float(20 * np.log10(np.percentile(level, 10) / np.percentile(level, 95)))]


def quantiles(logits: NDArray[np.floating[Any]]) -> list[float]:
    return [round(float(value), 2) for value in np.quantile(logits, [0.05, 0.25, 0.5, 0.75, 0.95])]


def families() -> dict[str, str]:
    """Family of each generator of the pool: what kind of system it is (our reading of its page)."""
    with (Path(__file__).parent / "data" / "voice_families.csv").open(newline="") as table:
        return {row["generator"]: row["family"] for row in csv.DictReader(table)}


def check_family(family: str) -> None:
    """Raises ConfigError for a family that no generator belongs to; "" stands for none."""
    known = sorted(set(families().values()))
    if family and family not in known:
        raise ConfigError(f"no family '{family}'; there are {', '.join(known)}")


def groups(rows: Sequence[Row], indices: NDArray[np.int64], table: Mapping[str, str]) -> dict[str, list[int]]:
    """Indices by generator, or by what `table` makes of it."""
    found: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        generator = rows[index]["generator"]
        found[table.get(generator, generator)].append(int(index))
    return found

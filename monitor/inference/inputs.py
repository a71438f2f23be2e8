"""From a window to what the models take. Pure numpy; training uses the same functions on the same windows."""

import math

import numpy as np
from numpy.typing import NDArray

from monitor.media import AUDIO_RATE_HZ, FaceView, Reason, Window
from monitor.speech.features import VOICE_S, fixed_rms, last_voice, log_mel, log_spectrum, voice_samples
from monitor.windows import HOP_S

MOUTH_RATE_HZ = 25
MIN_SPEECH_S = 0.6  # in the window, and a third of it in its fresh part
MIN_MOUTH_STEPS = 20
MAX_MOUTH_GAP_S = 0.1
MAX_REPEATED_SHARE = 0.12  # of mouths that equal the one before, above which the stream is slower than 23 pictures a second
LIPS = (slice(26, 42), slice(18, 46))  # rows and columns of a mouth crop
MIN_LIP_MOTION = 0.05  # of the crop's contrast, from picture to picture: 3 % of genuine clips have less, photographs and silent listeners
LIPS_EVERY_S = 2.4
COMPANY_SHARE = 0.1  # of the pictures; no clip of one person has any with two faces, in a gallery a face may be lost for a second or two
VOICE_STEP_S = 0.16  # of its local logits
MIN_MISSED_S = 0.4  # a recording of 3 s has this much more to compare
Floats = NDArray[np.float32]


def speech_in(window: Window) -> tuple[float, float]:
    """Seconds of speech in the whole window and in its fresh part."""
    fresh = round((window.fresh_from_s - window.start_s) / 0.02)
    return float(window.speech.sum()) * 0.02, float(window.speech[max(fresh, 0) :].sum()) * 0.02


def why_no_voice(window: Window) -> Reason | None:
    """Why the voice of this window must not be judged; None when it can be."""
    if window.samples is None:
        return "no_audio_track"
    total_s, fresh_s = speech_in(window)
    return None if total_s >= MIN_SPEECH_S and fresh_s >= MIN_SPEECH_S / 3 else "no_speech"


def voice_of(window: Window) -> dict[str, Floats]:
    """Inputs of the voice net: `samples` float32 [1, 38400], and `log_spectrum` [1, frames, 256] of them in the first window (240 frames),
    of what was said last (120) in later ones.
    """
    assert window.samples is not None
    samples = voice_samples(window.samples, window.speech)
    heard = samples if _is_first(window) else last_voice(window.samples, window.speech)
    return {"log_spectrum": log_spectrum(heard)[None], "samples": samples[None]}


def voice_times_s(window: Window, count: int) -> NDArray[np.float64]:
    """When each of the `count` steps of `voice_of(window)` was spoken, `VOICE_STEP_S` apart; NaN for what repeats another part."""
    marked = np.flatnonzero(window.speech)
    first, stop = (int(marked[0]), int(marked[-1]) + 1) if len(marked) else (0, len(window.speech))
    begun_s, ended_s = window.start_s + first * 0.02, window.start_s + stop * 0.02
    times_s = (begun_s if _is_first(window) else ended_s - VOICE_S / 2) + (np.arange(count) + 0.5) * VOICE_STEP_S
    return np.where((begun_s < times_s) & (times_s < ended_s), times_s, np.nan)


def _is_first(window: Window) -> bool:
    return window.fresh_from_s <= window.start_s + 1e-6


def mouths_of(window: Window, track_id: int) -> tuple[Floats, NDArray[np.bool_]] | None:
    """One mouth per 40 ms: float32 [steps, 64, 64], 0..255, and where there was one: bool [steps]. None when too few."""
    seen = [
        (frame.time_s, face.mouth_gray)
        for frame in window.frames
        for face in frame.faces
        if face.track_id == track_id and face.mouth_gray is not None
    ]
    steps = int((window.end_s - window.start_s) * MOUTH_RATE_HZ + 1e-6)
    if len(seen) < MIN_MOUTH_STEPS // 2 or steps < MIN_MOUTH_STEPS:
        return None
    times_s = np.array([time_s for time_s, _ in seen])
    grid_s = window.start_s + np.arange(steps) / MOUTH_RATE_HZ
    nearest = np.abs(times_s[None] - grid_s[:, None]).argmin(1)
    known: NDArray[np.bool_] = np.asarray(np.abs(times_s[nearest] - grid_s) <= MAX_MOUTH_GAP_S)
    if known.sum() < MIN_MOUTH_STEPS:
        return None
    mouths = np.stack([seen[index][1] for index in nearest]).astype(np.float32)
    return mouths, known


def shows_texture(mouths: NDArray[np.floating | np.uint8]) -> bool:
    """Whether these mouths ([steps, 64, 64]) are enough, pictures of their own, and of lips that move.

    Texture over time means nothing for repeated pictures. A codec leaves a still mouth as it is, so that a photograph, or somebody who only
    listens, scored three deviations above people who talk.
    """
    repeated = (mouths[1:] == mouths[:-1]).all((1, 2))
    enough = len(mouths) >= MIN_MOUTH_STEPS and float(repeated.mean()) <= MAX_REPEATED_SHARE
    return enough and lip_motion(mouths) >= MIN_LIP_MOTION


def lip_motion(mouths: NDArray[np.floating | np.uint8]) -> float:
    """How much the lips change from picture to picture, as a share of the crop's contrast; fine grain is averaged away."""
    lips = mouths[:, *LIPS].astype(np.float32)
    coarse = (lips[:, ::2, ::2] + lips[:, 1::2, ::2] + lips[:, ::2, 1::2] + lips[:, 1::2, 1::2]) * np.float32(0.25)
    motion = np.diff(coarse, axis=0).reshape(len(lips) - 1, coarse[0].size)
    return float(np.sqrt(_mean_square(motion)).mean()) / (float(_deviation(mouths).mean()) + 1.0)


def _deviation(pictures: NDArray[np.floating | np.uint8]) -> Floats:
    """Standard deviation of each picture [n, h, w], 0..255; numpy's own takes three times as long."""
    flat = pictures.reshape(len(pictures), pictures[0].size).astype(np.float32, copy=False)
    spread: Floats = np.sqrt(np.maximum(_mean_square(flat) - np.square(flat.mean(1)), 0.0))
    return spread


def _mean_square(rows: Floats) -> Floats:
    found: Floats = np.einsum("ij,ij->i", rows, rows) / np.float32(rows.shape[1])
    return found


def mel_of(window: Window, steps: int) -> Floats:
    """log_mel input, float32 [4 × steps, 64], of the same seconds as `steps` mouths."""
    assert window.samples is not None
    length = steps * AUDIO_RATE_HZ // MOUTH_RATE_HZ
    samples = window.samples[:length]
    return log_mel(fixed_rms(np.pad(samples, (0, length - len(samples))), window.speech))


def speaking_steps(window: Window, steps: int) -> NDArray[np.bool_]:
    """Which 40 ms hold speech: bool [steps]."""
    marks = np.zeros(2 * steps, np.bool_)
    marks[: len(window.speech)] = window.speech[: 2 * steps]
    return np.asarray(marks.reshape(steps, 2).any(1), np.bool_)


def looked_at(window: Window, track_id: int) -> list[tuple[float, FaceView]]:
    """The pictures of one face in the fresh part that were cut out for judging: (time in s, view with a crop)."""
    return [
        (frame.time_s, face)
        for frame in window.frames
        if frame.time_s >= window.fresh_from_s
        for face in frame.faces
        if face.track_id == track_id and face.face_rgb is not None and face.reason is None
    ]


def in_company(window: Window) -> bool:
    """Whether more than one face, judged or not, was in the picture at the same time: then somebody else may be speaking, also unseen."""
    shared = sum(len(frame.faces) > 1 for frame in window.frames)
    return shared > COMPANY_SHARE * len(window.frames)


def lips_are_due(window: Window) -> bool:
    """Whether lips and voice are to be compared in this window: in every second one, so that half-overlapping windows never show the
    lip–voice net the same lips twice. Of windows that end 1.2 s apart exactly one in two holds a multiple of 2.4 s in its fresh part.
    The first window and, where enough lips were left out, the last one are due too.
    """
    if _is_first(window) or _holds_multiple(window.fresh_from_s, window.end_s):
        return True
    missed_s = 0.0 if _holds_multiple(window.fresh_from_s - HOP_S, window.fresh_from_s) else HOP_S
    return window.last and window.end_s - window.fresh_from_s + missed_s >= MIN_MISSED_S


def _holds_multiple(from_s: float, to_s: float) -> bool:
    return math.floor(to_s / LIPS_EVERY_S + 1e-6) > math.floor(from_s / LIPS_EVERY_S + 1e-6)

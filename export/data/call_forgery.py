"""Forging some seconds of a genuine call: its face, its pictures' order, its sound. Pure functions on whole takes; see `made_calls`.

Pictures are uint8 [h, w, 3] RGB, sound float32 mono at 16 kHz that starts with the first picture; `part` is a range of pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.face_workshop import Donors, forge, most_alike
from export.data.faces import MARGIN_PX, WIDE_PX
from export.data.mouths import mirrored
from export.data.placing import put_into
from monitor.faces.crop import FACE_POINTS, FACE_PX, face_crop, similarity
from monitor.media import AUDIO_RATE_HZ

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
MASK_CELL_PX = 4
EDGE_PX = 6  # the wide crop's own edge is faded in over this much, so that a forgery of the whole crop shows no frame
FADE_S = 0.01
STEADY = 5  # pictures over which landmarks are averaged


@dataclass(frozen=True)
class Take:
    """A stretch of one person talking. `landmarks` [n, 5, 2] in pixels, one row for each picture."""

    frames: list[Image]
    landmarks: Floats
    sound: Floats
    fps: float

    @property
    def duration_s(self) -> float:
        return len(self.frames) / self.fps

    def wides(self, pictures: range) -> list[Image]:
        """The aligned wide crops of some pictures."""
        return [face_crop(self.frames[at], self.landmarks[at], MARGIN_PX) for at in pictures]


def joined(takes: Sequence[Take]) -> Take:
    """One after the other; the sound is cut or filled up to the pictures of each and faded over the joints."""
    sounds = []
    for take in takes:
        length = round(take.duration_s * AUDIO_RATE_HZ)
        sound = np.pad(take.sound[:length], (0, max(0, length - len(take.sound))))
        ramp = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / (FADE_S * AUDIO_RATE_HZ))
        sounds.append((sound * ramp).astype(np.float32))
    frames = [frame for take in takes for frame in take.frames]
    return Take(frames, np.concatenate([take.landmarks for take in takes]), np.concatenate(sounds), takes[0].fps)


def cut_out(take: Take, from_s: float, seconds: float, size_wh: tuple[int, int], fps: float) -> Take:
    """Some seconds of it at another rate, each picture as large as fits into `size_wh`, black beside it."""
    width, height = size_wh
    frames, landmarks = list[Image](), []
    for time_s in from_s + np.arange(round(seconds * fps)) / fps:
        at = min(round(float(time_s) * take.fps), len(take.frames) - 1)
        frames.append(np.zeros((height, width, 3), np.uint8))
        scale, left, top = put_into(frames[-1], (0, 0, width, height), take.frames[at])
        landmarks.append(take.landmarks[at] * scale + [left, top])
    start = round(from_s * AUDIO_RATE_HZ)
    sound = take.sound[start : start + round(len(frames) / fps * AUDIO_RATE_HZ)]
    return Take(frames, np.stack(landmarks).astype(np.float32), sound, fps)


def steadied(landmarks: Floats) -> Floats:
    """Averaged over STEADY pictures: a region that trembles would give the forgery away."""
    padded = np.pad(landmarks, ((STEADY // 2, STEADY // 2), (0, 0), (0, 0)), "edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, STEADY, 0).mean(-1), np.float32)


def forge_face(take: Take, part: range, kind: str, donors: tuple[Sequence[Image], Sequence[Image]], seed: int) -> tuple[list[Image], Image]:
    """(pictures of `part` with a forged face, masks uint8 [n, h/4, w/4]).

    `donors` are wide crops: of the same person at another time, running along; and of somebody else, the likest taken for each picture.
    One seed for every picture: the region and the traces stay where they are on the face. A re-animation moves one still of the other time.
    """
    moments, others = donors
    still = moments[len(moments) // 2] if moments else None
    shown, masks = [], []
    for at in part:
        frame, points = take.frames[at], take.landmarks[at]
        wide = face_crop(frame, points, MARGIN_PX)
        moment = moments[(at - part.start) % len(moments)] if moments else None
        other = others[most_alike(wide, others)] if others else None
        fake, mask = forge(kind, wide, Donors(moment, other, still), np.random.default_rng(seed))
        picture, whole = _put_back(frame, points, fake.astype(np.float32) - wide, mask)
        shown.append(picture)
        cells = cv2.resize(whole, (frame.shape[1] // MASK_CELL_PX, frame.shape[0] // MASK_CELL_PX), interpolation=cv2.INTER_AREA)
        masks.append(np.asarray(np.clip(cells * 255, 0, 255), np.uint8))
    return shown, np.stack(masks)


def _put_back(frame: Image, landmarks: Floats, change: Floats, mask: Floats) -> tuple[Image, Floats]:
    """`change` of the wide crop added to the frame it was cut from, and its mask [h, w] there."""
    matrix = similarity(landmarks, FACE_POINTS * FACE_PX + MARGIN_PX)[:2]
    ramp = np.minimum(1, np.minimum(np.arange(WIDE_PX), np.arange(WIDE_PX)[::-1]) / EDGE_PX).astype(np.float32)
    window = ramp[:, None] * ramp[None] * (mask > 0)
    size, flags = (frame.shape[1], frame.shape[0]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    added, whole = (cv2.warpAffine(each, matrix, size, flags=flags) for each in (change * window[..., None], mask * window))
    return np.asarray(np.clip(frame + added + 0.5, 0, 255), np.uint8), np.asarray(whole, np.float32)


def frozen(take: Take, part: range) -> list[Image]:
    """The last picture before `part` instead of its own."""
    return [take.frames[max(0, part.start - 1)]] * len(part)


def looped(take: Take, part: range, loop_s: float) -> list[Image]:
    """The last `loop_s` before `part`, back and forth."""
    count = min(part.start, max(2, round(loop_s * take.fps)))
    return [take.frames[part.start - count + index] for index in mirrored(count, count - 2, len(part))]


def spliced(take: Take, part: range, elsewhere: range) -> list[Image]:
    """Pictures of `elsewhere` in the place of those of `part`, back and forth where they are too few."""
    return [take.frames[elsewhere.start + index] for index in mirrored(len(elsewhere), 0, len(part))]


def with_sound(sound: Floats, part_s: tuple[float, float], other: Floats) -> Floats:
    """`sound` with `other` in `part_s`, as loud as what it replaces, repeated if too short, faded in and out over 10 ms."""
    start, stop = (round(each * AUDIO_RATE_HZ) for each in part_s)
    ours = sound[start:stop]
    theirs = np.resize(other, len(ours))
    theirs = theirs * (rms(ours) / max(rms(theirs), 1e-5))
    weight = np.minimum(1, np.minimum(np.arange(len(ours)), np.arange(len(ours))[::-1]) / (FADE_S * AUDIO_RATE_HZ))
    out = sound.copy()
    out[start:stop] = np.clip(theirs * weight + ours * (1 - weight), -1, 1)
    return out


def shifted(sound: Floats, part_s: tuple[float, float], late_s: float) -> Floats:
    """`sound` that comes `late_s` later (negative: earlier) in `part_s`."""
    start, stop = (round(each * AUDIO_RATE_HZ) for each in part_s)
    late = np.roll(np.pad(sound, AUDIO_RATE_HZ), round(late_s * AUDIO_RATE_HZ))[AUDIO_RATE_HZ:-AUDIO_RATE_HZ]
    return with_sound(sound, part_s, late[start:stop])


def rms(sound: Floats) -> float:
    return float(np.sqrt(np.mean(sound**2))) if len(sound) else 0.0

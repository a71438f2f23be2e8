"""People of whom no net was trained, talking with their own sound and listening: whom calls of several faces are made of."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from export.data.call_forgery import rms
from export.data.faces import frames_of
from export.data.folds import wild_split
from export.data.placing import Image
from export.data.pool import Floats, PoolError, frame_rate_hz, read_sound, read_table
from export.data.talk import held_speakers
from monitor.media import AUDIO_RATE_HZ

FPS = 25.0
SPEECH_RMS = 0.06
CALM_S = 0.5
RESTING = 0.45  # of the usual motion of the mouth: five of the pool's eight speakers rest for so long


@dataclass(frozen=True)
class Person:
    """Somebody's clips; `voiced` where lips and sound are known to be in step."""

    name: str
    files: tuple[Path, ...]
    voiced: bool


@dataclass(frozen=True)
class Clip:
    """Pictures at FPS and sound of the same length, at SPEECH_RMS."""

    pictures: list[Image]
    sound: Floats


class Guests:
    """People of whom no net was trained: speakers of `talk`, and genuine faces of `wild`, of whom only the pictures are used."""

    def __init__(self, pool: Path) -> None:
        talk, wild = pool / "data" / "talk", pool / "data" / "wild"
        self.speakers = [Person(name, tuple(talk / row["file"] for row in rows), voiced=True) for name, rows in held_speakers(talk).items()]
        self.faces = [*self.speakers, *_silent(wild)]
        self._clip = lru_cache(maxsize=32)(_read)
        self._calmest = lru_cache(maxsize=None)(self._rest)

    def speaker(self, name: str) -> Person:
        return next(person for person in self.speakers if person.name == name)

    def others(self, rng: np.random.Generator, count: int, *without: Person, speaking: bool = False) -> list[Person]:
        """Different people, half of them speakers of `talk`, none of `without`. `speaking`: only those who have a voice."""
        known = [person for person in self.speakers if person not in without]
        strangers = [] if speaking else [person for person in self.faces if not person.voiced]
        chosen: list[Person] = []
        for place in range(count):
            left = known if (place % 2 == 0 and known) or not strangers else strangers
            if not left:
                raise PoolError(f"the pool has too few held-out people for one picture: {count} more are wanted, {len(chosen)} are left")
            chosen.append(left.pop(int(rng.integers(len(left)))))
        return chosen

    def calm(self, person: Person) -> Person:
        """The same, or the calmest of all speakers where their calmest half second is no rest."""
        return person if self._calmest(person)[0] <= RESTING else min(self.speakers, key=lambda each: self._calmest(each)[0])

    def talk(self, person: Person, frames: int, rng: np.random.Generator) -> Clip:
        """So many pictures of them talking, clip after clip from any of them on, and the sound beside them."""
        first, pictures, sounds = int(rng.integers(len(person.files))), list[Image](), list[Floats]()
        while len(pictures) < frames:
            clip = self._clip(person.files[first % len(person.files)])
            pictures, first = pictures + clip.pictures, first + 1
            sounds.append(clip.sound)
        return Clip(pictures[:frames], np.concatenate(sounds)[: samples_of(frames)])

    def listen(self, person: Person, frames: int, rng: np.random.Generator) -> list[Image]:
        """Their calmest half second, back and forth from somewhere in it."""
        _, calm = self._calmest(person)
        loop = [*calm, *calm[-2:0:-1]]
        first = int(rng.integers(len(loop)))
        return [loop[(first + place) % len(loop)] for place in range(frames)]

    def _rest(self, person: Person) -> tuple[float, list[Image]]:
        """How much their mouth moves in its calmest CALM_S, as a share of how much it usually does, and these pictures."""
        clips = [self._clip(file) for file in person.files]
        moved = [mouth_motion(clip.pictures) for clip in clips]
        found = [(*calmest(motion), clip) for motion, clip in zip(moved, clips, strict=True)]
        least, part, clip = min(found, key=lambda each: each[0])
        return least / max(float(np.concatenate(moved).mean()), 1e-6), clip.pictures[part]


def mouth_motion(pictures: Sequence[Image]) -> Floats:
    """Mean change from picture to picture around the mouth of a face that fills the picture: [n − 1], in grey levels."""
    height, width = pictures[0].shape[:2]
    mouths = [picture[height // 2 : height * 9 // 10, width // 4 : width * 3 // 4] for picture in pictures]
    small = np.stack([cv2.resize(mouth, (32, 32), interpolation=cv2.INTER_AREA) for mouth in mouths]).astype(np.float32)
    motion: Floats = np.abs(np.diff(small, axis=0)).mean((1, 2, 3))
    return motion


def calmest(motion: Floats) -> tuple[float, slice]:
    """(mean motion, which pictures) of the CALM_S in which least moves."""
    count = min(round(CALM_S * FPS) - 1, len(motion))
    means = np.convolve(motion, np.full(count, 1 / count), "valid")
    start = int(means.argmin())
    return float(means[start]), slice(start, start + count + 1)


def samples_of(frames: int) -> int:
    """How many samples of sound go with so many pictures."""
    return round(frames / FPS * AUDIO_RATE_HZ)


def _read(file: Path) -> Clip:
    pictures, sound = frames_of(file), read_sound(file)
    rate_hz = frame_rate_hz(file)
    count = int(len(pictures) / rate_hz * FPS)
    shown = [pictures[min(round(place / FPS * rate_hz), len(pictures) - 1)] for place in range(count)]
    length = samples_of(count)
    sound = np.pad(sound[:length], (0, max(0, length - len(sound))))
    loud = rms(sound)
    return Clip(shown, (sound * (SPEECH_RMS / loud if loud > 1e-5 else 0.0)).astype(np.float32))


def _silent(wild: Path) -> list[Person]:
    """Held-out genuine faces of `wild`."""
    files: dict[str, list[Path]] = defaultdict(list)
    for row in wild_split(read_table(wild))[1]:
        if row["label_video"] == "real":
            files[row["group"] or row["file"]].append(wild / row["file"])
    return [Person(name, tuple(each), voiced=False) for name, each in sorted(files.items())]

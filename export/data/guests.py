"""People of whom no net was trained, talking with their own sound and listening: whom calls of several faces are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.faces import frames_of
from export.data.folds import wild_split
from export.data.pool import Floats, PoolError, Row, read_sound, read_table
from export.data.talk import in_step, split_talk
from monitor.media import AUDIO_RATE_HZ

FPS = 25.0
SPEECH_RMS = 0.06
CALM_S = 0.5
RESTING = 0.45  # of the usual motion of the mouth: five of the pool's eight speakers rest for so long
Image = NDArray[np.uint8]


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
        rows = [(row["speaker"], talk / row["file"]) for row in split_talk(read_table(talk))[1] if in_step(row)]
        self.speakers = [person for person in _people(rows, voiced=True) if len(person.files) >= 2]
        if len(self.speakers) < 2:
            raise PoolError(f"{talk} has fewer than two held-out speakers with two clips in step; galleries need them")
        seen = [(row["group"] or row["file"], wild / row["file"]) for row in _held_wild(wild)]
        self.faces = [*self.speakers, *_people(seen, voiced=False)]
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
    rate_hz = _rate_hz(file)
    count = int(len(pictures) / rate_hz * FPS)
    shown = [pictures[min(round(place / FPS * rate_hz), len(pictures) - 1)] for place in range(count)]
    length = samples_of(count)
    sound = np.pad(sound[:length], (0, max(0, length - len(sound))))
    loud = float(np.sqrt(np.mean(sound**2)))
    return Clip(shown, (sound * (SPEECH_RMS / loud if loud > 1e-5 else 0.0)).astype(np.float32))


def _rate_hz(file: Path) -> float:
    return cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FPS) or FPS


def _held_wild(folder: Path) -> list[Row]:
    return [row for row in wild_split(read_table(folder))[1] if row["label_video"] == "real"]


def _people(rows: Sequence[tuple[str, Path]], *, voiced: bool) -> list[Person]:
    names = sorted({name for name, _ in rows})
    return [Person(name, tuple(file for who, file in rows if who == name), voiced) for name in names]

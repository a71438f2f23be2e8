"""What made calls are made of, and how: genuine talk and generated voices of held-out people, a plan, some seconds forged."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from export.data.call_forgery import Take, cut_out, forge_face, frozen, joined, looped, shifted, spliced, steadied, with_sound
from export.data.faces import Finder, frames_of, main_face, weights_file, yunet
from export.data.pool import PoolError, Row, frame_rate_hz, read_sound, read_table
from export.data.talk import held_speakers
from export.data.turns import HEIGHT_PX, SHOWN_S, WIDTH_PX
from export.data.voices import split_voices
from monitor.media import AUDIO_RATE_HZ

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Speech = Callable[[np.random.Generator, float], tuple[str, Floats]]  # see `Held.speech`
KINDS = (
    *("swap", "voice", "mouth", "genuine", "dub", "reanimation"),
    *("frozen", "autoencoder", "shift", "genuine", "looped", "mouth+voice"),
)
CONTROL_KINDS = ("foreign",)  # a genuine voice of another collection and person: nothing generated, though it fits no lips
ASKED_KINDS = (*CONTROL_KINDS, "spliced", "edited")
"""Made only where they are asked for. spliced: a jump cut to another moment, the sound goes on. edited: genuine people by turns, each with
their own sound, cut at any moment."""
EDITED_FPS = 25.0
FACE_KINDS = ("swap", "mouth", "reanimation", "autoencoder")
FORGED_S = (3.5, 7.0)
EDGE_S = 2.5  # at the start and the end at least so much is genuine
LATE_S = (0.2, 0.6)
CALL_S, CLIP_S = 14.0, 2.8
MAX_FPS = 31.0


@dataclass(frozen=True)
class Segment:
    """Forged seconds [start_s, end_s) of one modality; `offset_ms` > 0: the sound is late by so much (kind "shift")."""

    modality: str
    kind: str
    start_s: float
    end_s: float
    offset_ms: int = 0


@dataclass(frozen=True)
class SpokenTurn:
    """Somebody speaks in [start_s, end_s); `box_xyxy`: the own tile as shares of the picture, None for somebody who cannot be seen."""

    start_s: float
    end_s: float
    box_xyxy: tuple[float, float, float, float] | None


class Held:
    """Genuine talk and generated voices of the held-out folds."""

    def __init__(self, pool: Path) -> None:
        self._talk, self._voices = pool / "data" / "talk", pool / "data" / "voices"
        self._find: Finder = yunet(weights_file(pool, "yunet_n_dynamic.onnx"))
        self.clips = held_speakers(self._talk)
        voices = split_voices(read_table(self._voices))[1]
        self.generated = _files_by("generator", (row for row in voices if row["label"] == "fake"))
        self.foreign = _files_by("speaker", (row for row in voices if row["label"] == "real" and row["speaker"]))
        self.take = lru_cache(maxsize=16)(self._take)

    def _take(self, file: str) -> Take:
        """One clip at 30 pictures a second or less, with the landmarks of its largest face on every picture."""
        path = self._talk / file
        fps = frame_rate_hz(path)
        every = max(1, round(fps / MAX_FPS + 0.4)) if fps > MAX_FPS else 1
        frames = frames_of(path)[::every]
        found = [main_face(self._find, frame) for frame in frames]
        seen = [index for index, points in enumerate(found) if points is not None]
        if not seen:
            raise PoolError(f"no face in {path}; is it a clip of `talk`?")
        landmarks = np.stack([cast(Floats, found[min(seen, key=lambda other: abs(other - index))]) for index in range(len(frames))])
        return Take(frames, steadied(landmarks), read_sound(path), fps / every)

    def speech(self, rng: np.random.Generator, seconds: float, *, genuine: bool = False) -> tuple[str, Floats]:
        """(generator or genuine speaker, at least `seconds` of its voices one after another, as far as it has them)."""
        voices = self.foreign if genuine else self.generated
        name = str(rng.choice(list(voices)))
        files = [str(file) for file in rng.permutation(voices[name])]
        sounds: list[Floats] = []
        while files and sum(map(len, sounds)) < seconds * AUDIO_RATE_HZ:
            sounds.append(read_sound(self._voices / files.pop()))
        return name, np.concatenate(sounds)


@dataclass(frozen=True)
class Forged:
    """A take with its truth. `turns`: who speaks when, where more than one might (see `galleries`); `faces` in the picture."""

    take: Take
    frames: list[Image]
    sound: Floats
    segments: tuple[Segment, ...]
    masks: tuple[int, Image] | None = None
    turns: tuple[SpokenTurn, ...] = ()
    faces: int = 1


def make(held: Held, kind: str, speaker: str, seed: int) -> Forged:
    """A call of `speaker` with some seconds forged as `kind` says; the same for the same seed."""
    rng = np.random.default_rng([seed, (*KINDS, *ASKED_KINDS).index(kind)])
    if kind == "edited":
        take = joined(list(_turns(held, rng)))
        return Forged(take, take.frames, take.sound, ())
    files = [row["file"] for row in held.clips[speaker]]
    order = [files[index % len(files)] for index in np.arange(round(CALL_S / CLIP_S)) + int(rng.integers(len(files)))]
    take = joined([held.take(file) for file in order])
    length_s = min(float(rng.uniform(*FORGED_S)), take.duration_s - 2 * EDGE_S)
    start = round(float(rng.uniform(EDGE_S, take.duration_s - EDGE_S - length_s)) * take.fps)
    part = range(start, start + round(length_s * take.fps))
    other_speaker = str(rng.choice([each for each in held.clips if each != speaker]))
    other = joined([held.take(row["file"]) for row in held.clips[other_speaker][:3]])
    speech = partial(held.speech, genuine=kind in CONTROL_KINDS)
    return _forged(speech, kind, take, part, other, rng)


def _turns(held: Held, rng: np.random.Generator) -> Iterator[Take]:
    """Some seconds each of people in turn, until there are CALL_S."""
    length_s, last = 0.0, ""
    while length_s < CALL_S:
        last = str(rng.choice([speaker for speaker in held.clips if speaker != last]))
        whole = held.take(str(rng.choice([row["file"] for row in held.clips[last]])))
        seconds = min(whole.duration_s, float(rng.uniform(*SHOWN_S)))
        from_s = float(rng.uniform(0, whole.duration_s - seconds))
        yield cut_out(whole, from_s, seconds, (WIDTH_PX, HEIGHT_PX), EDITED_FPS)
        length_s += seconds


def _forged(speech: Speech, kind: str, take: Take, part: range, other: Take, rng: np.random.Generator) -> Forged:
    part_s = (part.start / take.fps, part.stop / take.fps)
    frames, sound, masks = list(take.frames), take.sound, None
    told: list[Segment] = []

    def tell(modality: str, what: str, offset_ms: int = 0) -> None:
        told.append(Segment(modality, what, round(part_s[0], 3), round(part_s[1], 3), offset_ms))

    face_kind = kind.split("+", maxsplit=1)[0]
    elsewhere = max(range(part.start), range(part.stop, len(take.frames)), key=len)
    if face_kind in FACE_KINDS:
        donors = take.wides(elsewhere), other.wides(range(0, len(other.frames), 3))
        frames[part.start : part.stop], cells = forge_face(take, part, face_kind, donors, int(rng.integers(2**31)))
        masks = (part.start, cells)
        tell("video", face_kind)
    elif kind in {"frozen", "looped"}:
        frames[part.start : part.stop] = frozen(take, part) if kind == "frozen" else looped(take, part, float(rng.uniform(0.6, 1.6)))
        tell("sync", kind)
    elif kind == "spliced":
        frames[part.start : part.stop] = spliced(take, part, elsewhere)
        tell("sync", kind)
    if kind == "dub":
        sound = with_sound(sound, part_s, other.sound)
        tell("sync", "dub")
    elif kind == "shift":
        late_s = float(rng.uniform(*LATE_S)) * float(rng.choice([-1, 1]))
        sound = shifted(sound, part_s, late_s)
        tell("sync", "shift", round(1000 * late_s))
    elif kind.endswith("voice") or kind in CONTROL_KINDS:
        name, spoken = speech(rng, part_s[1] - part_s[0])
        sound = with_sound(sound, part_s, spoken)
        if kind not in CONTROL_KINDS:
            tell("audio", name)
        tell("sync", "foreign" if kind in CONTROL_KINDS else "voice")
    return Forged(take, frames, sound, tuple(told), masks)


def _files_by(column: str, rows: Iterable[Row]) -> dict[str, list[str]]:
    """Of those with two files or more."""
    files: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        files[row[column]].append(row["file"])
    return {name: each for name, each in sorted(files.items()) if len(each) >= 2}

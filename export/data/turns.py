"""People by turns, as in a conference that shows whoever speaks or in an edited film: a source of clips, cut into each other anywhere."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.data.placing import Image, put_into
from export.data.pool import Floats
from export.data.recordings import items_of
from monitor.channel import Channel
from monitor.media import AUDIO_RATE_HZ, AudioChunk, Luma, MediaInfo, MediaItem, Picture, VideoFrame

SHOWN_S = (1.2, 4.0)  # of each
WIDTH_PX, HEIGHT_PX = 640, 360
CHUNK_SAMPLES = 320  # 20 ms
LIMITED_BLACK = 16


@dataclass(frozen=True)
class Turn:
    """`seconds` of a clip, or all of a shorter one. Of what that leaves out, the share `skipped` (0..1) lies before it."""

    path: Path
    seconds: float
    skipped: float


@dataclass(frozen=True)
class Dub:
    """From `start_s` to `end_s` these clips are heard instead, one after the other."""

    start_s: float
    end_s: float
    voices: tuple[Path, ...]


@dataclass(frozen=True)
class Turns:
    """Each turn with its own sound; every picture as large as fits, black beside it. A source (see `monitor.sources`)."""

    turns: tuple[Turn, ...]
    dub: Dub | None = None

    async def run(self, out: Channel[MediaItem]) -> None:
        """Raises SourceError when a clip cannot be read."""
        await out.put(MediaInfo(has_audio=True, has_video=True, sync_source="container"))
        voice = await self._voice()
        begin = 0  # of the turn, in samples
        for turn in self.turns:
            frames, sound = await _whole(turn.path)
            whole_s = min(frames[-1].time_s, len(sound) / AUDIO_RATE_HZ) if frames else 0.0
            length_s = min(turn.seconds, whole_s)
            from_s = turn.skipped * (whole_s - length_s)
            samples = sound[round(from_s * AUDIO_RATE_HZ) :][: round(length_s * AUDIO_RATE_HZ)].copy()
            if self.dub:
                _heard_instead(samples, begin - round(self.dub.start_s * AUDIO_RATE_HZ), voice)
            begin_s = begin / AUDIO_RATE_HZ
            items: list[AudioChunk | VideoFrame] = [
                VideoFrame(begin_s + each.time_s - from_s, Fitted(each.picture), each.concealed)
                for each in frames
                if from_s <= each.time_s < from_s + length_s
            ]
            items += [
                AudioChunk(begin_s + at / AUDIO_RATE_HZ, samples[at : at + CHUNK_SAMPLES]) for at in range(0, len(samples), CHUNK_SAMPLES)
            ]
            for item in sorted(items, key=lambda item: item.time_s):
                await out.put(item)
            begin += len(samples)

    async def _voice(self) -> Floats:
        """What the dub lets be heard."""
        if self.dub is None:
            return np.zeros(0, np.float32)
        sounds = [(await _whole(path))[1] for path in self.dub.voices]
        return np.concatenate(sounds)[: round((self.dub.end_s - self.dub.start_s) * AUDIO_RATE_HZ)]


@dataclass(frozen=True)
class Fitted:
    """A picture between black bars, WIDTH_PX × HEIGHT_PX."""

    picture: Picture

    @property
    def size_wh(self) -> tuple[int, int]:
        return WIDTH_PX, HEIGHT_PX

    @property
    def rgb(self) -> Image:
        return _between_bars(self.picture.rgb, 0)

    @property
    def luma(self) -> Luma:
        luma = self.picture.luma
        return Luma(_between_bars(luma.pixels, 0 if luma.full_range else LIMITED_BLACK), luma.full_range)


def drawn_turns(clips: Mapping[str, Sequence[Path]], seconds: float, rng: np.random.Generator) -> tuple[Turn, ...]:
    """Of the people of `clips` in no order, never one twice in a row; `seconds` in all, less what short clips lack."""
    names, last, length_s = list(clips), "", 0.0
    turns: list[Turn] = []
    while length_s < seconds:
        last = str(rng.choice([name for name in names if name != last]))
        path = clips[last][int(rng.integers(len(clips[last])))]
        turns.append(Turn(path, float(rng.uniform(*SHOWN_S)), float(rng.uniform())))
        length_s += turns[-1].seconds
    return tuple(turns)


async def _whole(path: Path) -> tuple[list[VideoFrame], Floats]:
    """All pictures, and the sound from time 0 on."""
    items = await items_of(path)
    return [item for item in items if isinstance(item, VideoFrame)], _sound_of(item for item in items if isinstance(item, AudioChunk))


def _sound_of(chunks: Iterable[AudioChunk]) -> Floats:
    """Silent where no chunk is."""
    known = list(chunks)
    sound = np.zeros(max((round(each.time_s * AUDIO_RATE_HZ) + len(each.samples) for each in known), default=0), np.float32)
    for each in known:
        start = round(each.time_s * AUDIO_RATE_HZ)
        kept = each.samples[max(-start, 0) :]
        sound[max(start, 0) : max(start, 0) + len(kept)] = kept
    return sound


def _heard_instead(samples: Floats, after: int, voice: Floats) -> None:
    """Writes into `samples`, the first of which lies `after` behind the first of `voice`."""
    into = max(-after, 0)
    part = voice[max(after, 0) : max(after, 0) + max(len(samples) - into, 0)]
    samples[into : into + len(part)] = part


def _between_bars(picture: Image, black: int) -> Image:
    canvas = np.full((HEIGHT_PX, WIDTH_PX, *picture.shape[2:]), black, np.uint8)
    put_into(canvas, (0, 0, WIDTH_PX, HEIGHT_PX), picture)
    return canvas

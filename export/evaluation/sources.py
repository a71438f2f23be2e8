"""What a call may do to a file's media, as sources around the file's own source."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from export.data.pool import Floats
from monitor.channel import Channel
from monitor.errors import MonitorError, SourceError
from monitor.media import AUDIO_RATE_HZ, AudioChunk, MediaInfo, MediaItem, VideoFrame
from monitor.sources import Source, feed
from monitor.sources.container import ContainerSource

CHUNK = AUDIO_RATE_HZ // 50
Change = Callable[[MediaItem], MediaItem | None]
Track = type[VideoFrame] | type[AudioChunk]


def file_source(path: Path) -> Source:
    return ContainerSource(str(path))


async def each_item(source: Source, use: Callable[[MediaItem], Awaitable[bool]]) -> None:
    """Give every item to `use` until it returns False or the media ends. Raises what the source raises."""
    items: Channel[MediaItem] = Channel(32, "wait")

    reading = asyncio.create_task(feed(source, items))
    try:
        async for item in items:
            if not await use(item):
                return
        await reading
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError, MonitorError):
            await reading


@dataclass(frozen=True)
class Changed:
    """Every item of `source` as `change` returns it; None leaves it out."""

    source: Source
    change: Change

    async def run(self, out: Channel[MediaItem]) -> None:
        """See `Source.run`."""

        async def forward(item: MediaItem) -> bool:
            changed = self.change(item)
            if changed is not None:
                await out.put(changed)
            return True

        await each_item(self.source, forward)


@dataclass(frozen=True)
class Recorded:
    """Items that are in memory already, the MediaInfo first."""

    items: Sequence[MediaItem]

    async def run(self, out: Channel[MediaItem]) -> None:
        """See `Source.run`."""
        for item in self.items:
            await out.put(item)


@dataclass(frozen=True)
class Chained:
    """One source after the other on one clock, as if they were one long call; `gap_s` apart. Sources that cannot be read are left out."""

    sources: Sequence[Source]
    gap_s: float = 0.04

    async def run(self, out: Channel[MediaItem]) -> None:
        """See `Source.run`."""
        start_s = end_s = 0.0

        async def forward(item: MediaItem) -> bool:
            nonlocal end_s
            if not isinstance(item, MediaInfo):
                item = replace(item, time_s=item.time_s + start_s)
                end_s = max(end_s, item.end_s if isinstance(item, AudioChunk) else item.time_s)
            await out.put(item)
            return True

        for source in self.sources:
            with contextlib.suppress(SourceError):
                await each_item(source, forward)
            start_s = end_s + self.gap_s


def only(source: Source, track: Track) -> Source:
    """As if the other track had never been there."""

    def change(item: MediaItem) -> MediaItem | None:
        if isinstance(item, MediaInfo):
            return replace(item, has_audio=item.has_audio and track is AudioChunk, has_video=item.has_video and track is VideoFrame)
        return item if isinstance(item, track) else None

    return Changed(source, change)


def lost(source: Source, track: Track, from_s: float) -> Source:
    """One track falls silent in mid-call and nobody says so, as when a camera is switched off or packets stop."""
    return Changed(source, lambda item: None if isinstance(item, track) and item.time_s >= from_s else item)


async def collect(source: Source, track: Track, until_s: float, pictures_hz: float = 1e9) -> list[MediaItem]:
    """The MediaInfo, as if there were no other track, and one track's items before `until_s`, at most `pictures_hz` pictures a second."""
    items: list[MediaItem] = []
    next_s = -1.0

    async def keep(item: MediaItem) -> bool:
        nonlocal next_s
        if isinstance(item, MediaInfo):
            items[:] = [item]
        elif item.time_s >= until_s:
            return False
        elif isinstance(item, AudioChunk) or item.time_s >= next_s - 1e-3:
            items.append(item)
            next_s = max(next_s, item.time_s) + 1 / pictures_hz if isinstance(item, VideoFrame) else next_s
        return True

    await each_item(only(source, track), keep)
    return items


def samples_of(items: Sequence[MediaItem]) -> Floats:
    chunks = [item.samples for item in items if isinstance(item, AudioChunk)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def pictures_of(items: Sequence[MediaItem]) -> list[VideoFrame]:
    return [item for item in items if isinstance(item, VideoFrame)]


def thinned(frames: Sequence[VideoFrame], most_hz: float) -> list[VideoFrame]:
    """At most `most_hz` pictures a second."""
    kept: list[VideoFrame] = []
    for frame in frames:
        if not kept or frame.time_s >= kept[-1].time_s + 1 / most_hz - 5e-3:
            kept.append(frame)
    return kept


def sounding(samples: Floats, start_s: float = 0.0) -> Recorded:
    """A call of nothing but this sound."""
    chunks = [AudioChunk(start_s + at / AUDIO_RATE_HZ, samples[at : at + CHUNK]) for at in range(0, len(samples), CHUNK)]
    return Recorded([MediaInfo(has_audio=True, has_video=False, sync_source="container"), *chunks])


def showing(frames: Sequence[VideoFrame]) -> Recorded:
    """A call of nothing but these pictures."""
    return Recorded([MediaInfo(has_audio=False, has_video=True, sync_source="container"), *frames])

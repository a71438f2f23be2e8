"""Recordings: a file, or a folder of them, read with FFmpeg (PyAV) in one worker thread."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av

from monitor.channel import Channel
from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import AudioChunk, Lost, MediaInfo, MediaItem, VideoFrame
from monitor.sources.demux import Tracks, read_file
from monitor.sources.opening import explain_file, open_file, real_path
from monitor.sources.reading import Batches, deliver

logger = logging.getLogger("monitor.sources")


class ContainerSource:
    """Any recording that FFmpeg reads, or all recordings of a folder in the order of their names, as one stream.

    `realtime`: paced by the wall clock. `loop`: starts over for ever; times go on growing. `live`: paced, and decoded for low delay.
    `root`: the folder that every file must really lie in, links followed.
    """

    def __init__(self, path: str, *, live: bool = False, realtime: bool = False, loop: bool = False, root: Path | None = None) -> None:
        self.name = path
        self._live = live
        self._paced = realtime or live
        self._loop = loop
        self._root = root

    async def run(self, out: Channel[MediaItem]) -> None:
        """See `Source.run`. No SourceError is retryable: a file that cannot be played stays so."""
        await deliver(self._batches(), out, paced=self._paced)

    def _batches(self) -> Batches:
        end_s = 0.0
        tracks: list[MediaItem] = []
        while True:
            began_s = end_s
            for path in self._paths():
                start_s = end_s
                for batch in self._played(path):
                    media = [replace(item, time_s=item.time_s + start_s) for item in batch if not isinstance(item, MediaInfo)]
                    if media:
                        end_s = max([end_s, *map(_end_s, media)])
                        yield [*media]
                    elif batch != tracks:  # what is in a file is told before its media, and only when it changes
                        tracks = batch
                        yield batch
            if end_s == began_s:
                raise SourceError(f"{self.name}: no sound or picture in it could be decoded; is it a recording, or a folder of them?")
            if not self._loop:
                return

    def _paths(self) -> list[str]:
        if not os.path.isdir(self.name):
            return [self.name]
        return sorted(entry.path for entry in os.scandir(self.name) if entry.is_file() and not entry.name.startswith("."))

    def _played(self, path: str) -> Iterator[list[MediaItem]]:
        """In a folder, what is no recording is skipped."""
        try:
            yield from self._play_once(path)
        except SourceError as error:
            if path == self.name:
                raise
            logger.warning("skipped: %s", error)

    def _play_once(self, path: str) -> Iterator[list[MediaItem]]:
        real = real_path(path, self._root)
        try:
            with open_file(real, path) as container:
                tracks = Tracks(container, low_delay=self._live)
                if not tracks.chosen:
                    raise SourceError(f"{path}: holds no sound and no pictures that can be decoded")
                yield from read_file(container, tracks)
        except (av.FFmpegError, OSError, ValueError):
            raise explain_file(path) from None


def open_stream(stream: Stream, ingest: Ingest) -> ContainerSource:
    return ContainerSource(stream.address, realtime=stream.realtime, loop=stream.loop, root=ingest.file_root)


def _end_s(item: VideoFrame | AudioChunk | Lost) -> float:
    return item.end_s if isinstance(item, AudioChunk) else item.time_s + 0.04

"""Files and RTSP cameras, read with FFmpeg (PyAV) in one worker thread."""

import asyncio
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import av

from monitor.channel import Channel
from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, MediaItem, VideoFrame
from monitor.sources.demux import Tracks, read_items
from monitor.sources.opening import explain, is_rtsp, open_container, safe_name

CLOSE_PATIENCE_S = 2.0  # a cancelled source waits this long for the read in progress; the thread then ends by its read timeout


class ContainerSource:
    """Anything FFmpeg reads: a file path, or an rtsp:// or rtsps:// URL.

    `live`: decode for low delay; a file is then also paced. `realtime`: a file is paced by the wall clock. `loop`: a file starts
    over for ever, its times go on growing. RTSP is always live and reports sync_source "arrival" until both tracks have a sender
    report. Corrupt frames are skipped and counted in `corrupt_frames`.
    """

    def __init__(
        self,
        url: str,
        *,
        live: bool = False,
        realtime: bool = False,
        transport: Literal["tcp", "udp"] = "tcp",
        open_timeout_s: float = 10.0,
        read_timeout_s: float = 10.0,
        loop: bool = False,
    ) -> None:
        self.name = safe_name(url)
        self.corrupt_frames = 0
        self._url = url
        self._live = live or is_rtsp(url)
        self._paced = (realtime or live) and not is_rtsp(url)
        self._transport = transport
        self._timeouts_s = (open_timeout_s, read_timeout_s)
        self._loop = loop and not is_rtsp(url)

    async def run(self, out: Channel[MediaItem]) -> None:
        """See `Source.run`. SourceError.retryable is True for a network's bad day and False for what a person must mend."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        batches = self._batches()
        worker = ThreadPoolExecutor(1, thread_name_prefix="container")
        try:
            while batch := await loop.run_in_executor(worker, next, batches, None):
                for item in batch:
                    if self._paced and not isinstance(item, MediaInfo):
                        await asyncio.sleep(started_s + item.time_s - loop.time())
                    await out.put(item)
        finally:
            closing = asyncio.wrap_future(worker.submit(batches.close))
            done, _ = await asyncio.wait([closing], timeout=CLOSE_PATIENCE_S)
            worker.shutdown(wait=bool(done))

    def _batches(self) -> Generator[list[MediaItem], None, None]:
        """Runs in the worker thread; every list holds at least one item."""
        end_s = 0.0
        while True:
            start_s, delivered = end_s, False
            for batch in self._play_once():
                shifted = [item if isinstance(item, MediaInfo) else replace(item, time_s=item.time_s + start_s) for item in batch]
                media = [item for item in shifted if not isinstance(item, MediaInfo)]
                delivered = delivered or bool(media)
                end_s = max([end_s, *(_end_s(item) for item in media)])
                yield shifted
            if not delivered:
                raise SourceError(f"{self.name}: no sound or picture in it could be decoded; is the file damaged?")
            if not self._loop:
                return

    def _play_once(self) -> Generator[list[MediaItem], None, None]:
        try:
            container = open_container(self._url, self._transport, *self._timeouts_s)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise explain(error, self._url) from None
        with container:
            tracks = Tracks(container, low_delay=self._live)
            if not tracks.has_any:
                raise SourceError(f"{self.name}: holds no sound and no pictures that can be decoded")
            try:
                yield from read_items(container, tracks, rtsp=is_rtsp(self._url))
                if is_rtsp(self._url):  # a camera has no end: the server was stopped, or closed our session
                    raise SourceError(f"{self.name}: the server ended the stream", retryable=True)
            except (av.FFmpegError, OSError) as error:
                raise explain(error, self._url, while_reading=True) from None
            finally:
                self.corrupt_frames += tracks.corrupt_frames


def _end_s(item: VideoFrame | AudioChunk) -> float:
    return item.end_s if isinstance(item, AudioChunk) else item.time_s + 0.04

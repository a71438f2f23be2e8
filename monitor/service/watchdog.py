"""Sees when a live source falls silent, and ends one that neither delivers nor gives up by itself."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from monitor.channel import Channel
from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.media import MediaItem
from monitor.sources import Source

logger = logging.getLogger("monitor.streams")
CANCEL_PATIENCE_S = 5.0  # a source that does not end when it is cancelled is left behind after this


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds without media: until the stream is called stalled, until it is given up, and until a source that opens is given up.

    The last two lie beyond the sources' own time-outs, which know better what to say.
    """

    stall_s: float
    silence_s: float
    opening_s: float

    @classmethod
    def of(cls, ingest: Ingest) -> "Patience":
        return cls(ingest.stall_s, ingest.read_timeout_s + ingest.stall_s, 3 * ingest.open_timeout_s)


class Watchdog:
    """A source around another. `on_stall(True)` is called when its media stops coming, `on_stall(False)` when it comes again."""

    def __init__(self, source: Source, patience: Patience, on_stall: Callable[[bool], None]) -> None:
        self._source = source
        self._patience = patience
        self._on_stall = on_stall

    async def run(self, out: Channel[MediaItem]) -> None:
        """Raises SourceError (retryable) after a silence, and whatever the source raises."""
        running = asyncio.ensure_future(self._source.run(out))
        watching = asyncio.ensure_future(self._watch(out))
        try:
            await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
            (running if running.done() else watching).result()
        finally:
            for task in (running, watching):
                task.cancel()
            _, stuck = await asyncio.wait({running, watching}, timeout=CANCEL_PATIENCE_S)
            if stuck:
                logger.warning("a source does not end; it is left behind")

    async def _watch(self, out: Channel[MediaItem]) -> None:
        loop = asyncio.get_running_loop()
        heard, heard_s, stalled = out.received, loop.time(), False
        while True:
            await asyncio.sleep(self._patience.stall_s / 4)
            silent_s = loop.time() - heard_s
            if out.received != heard:
                heard, heard_s = out.received, loop.time()
                if stalled:
                    stalled = False
                    self._on_stall(stalled)
            elif silent_s > (self._patience.silence_s if heard else self._patience.opening_s):
                raise SourceError(f"no media for {silent_s:.0f} s", retryable=True)
            elif heard and not stalled and silent_s >= self._patience.stall_s:
                stalled = True
                self._on_stall(stalled)

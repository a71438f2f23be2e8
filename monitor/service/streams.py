"""One stream's life: connecting → live ⇄ stalled → (reconnecting → live)* → ended or failed. Nothing in it stops another."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from monitor.channel import Channel
from monitor.errors import MonitorError, SourceError
from monitor.media import Alert, Emit, Event, MediaItem, StreamState
from monitor.service.watchdog import Patience, Watchdog
from monitor.sources import Source

logger = logging.getLogger("monitor.streams")
Watch = Callable[[str, Source, Emit], Awaitable[None]]
"""Judges one source until it ends: (stream id, source, emit)."""
DRAIN_S = 8.0  # a stream that was told to end may take this long to judge what it has heard


@dataclass(frozen=True, slots=True)
class Plan:
    """How to open a stream, and the waits (seconds) between tries, which begin anew once media flowed; no waits: one try.

    With waits a stream whose media ends is opened again too: a camera that restarts says goodbye first. `patience` is for live sources.
    """

    stream: str
    open: Callable[[], Source]
    waits_s: Callable[[], Iterator[float]] = lambda: iter(())
    patience: Patience | None = None


class Supervised:
    """Runs a Plan. `stop` ends the source as if the media had ended: what was heard is judged and open incidents close."""

    def __init__(self, plan: Plan, watch: Watch, emit: Emit) -> None:
        self._plan = plan
        self._watch = watch
        self._emit = emit
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Never raises: what goes wrong becomes the stream's state."""
        stream = self._plan.stream
        waits_s = self._plan.waits_s()
        self._emit(stream, StreamState("connecting"))
        while True:
            attempt = _Attempt(stream, self._emit)
            over = await self._try(attempt)
            if attempt.was_live:
                waits_s = self._plan.waits_s()
            wait_s = next(waits_s, None) if over.again and not self._stopping.is_set() else None
            if wait_s is None:
                self._emit(stream, StreamState("ended", "stopped") if self._stopping.is_set() else over.state)
                return
            self._emit(stream, StreamState("reconnecting", over.state.reason))
            await self._pause(wait_s)

    async def _try(self, attempt: "_Attempt") -> "_Over":
        try:
            source = self._plan.open()
            if self._plan.patience is not None:
                source = Watchdog(source, self._plan.patience, attempt.stalled)
            await self._watch(self._plan.stream, _Stoppable(source, self._stopping), attempt)
        except SourceError as error:
            return _Over(StreamState("failed", str(error)), error.retryable)
        except MonitorError as error:
            return _Over(StreamState("failed", str(error)), again=False)
        except Exception as error:
            logger.exception("stream %s: internal error", self._plan.stream)
            return _Over(StreamState("failed", f"internal error ({type(error).__name__}); please report it with the log"), again=True)
        return _Over(StreamState("ended", "the media ended"), again=True)

    async def _pause(self, wait_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait_s)


@dataclass(frozen=True, slots=True)
class _Over:
    """How a try went, should it have been the last; `again`: another one may go better."""

    state: StreamState
    again: bool


class _Attempt:
    """Passes a try's events on: the first one means that media flows, and incidents get ids that no other try or start gave."""

    def __init__(self, stream: str, emit: Emit) -> None:
        self.was_live = False
        self._stream = stream
        self._emit = emit
        self._suffix = secrets.token_hex(4)

    def __call__(self, stream: str, event: Event) -> None:
        if not self.was_live and not isinstance(event, StreamState):
            self.was_live = True
            self._emit(stream, StreamState("live"))
        if isinstance(event, Alert):
            event = replace(event, incident_id=f"{event.incident_id}-{self._suffix}")
        self._emit(stream, event)

    def stalled(self, now: bool) -> None:
        if self.was_live:
            self._emit(self._stream, StreamState("stalled", "no media arrives") if now else StreamState("live"))


class _Stoppable:
    """A source that also ends when `stopping` is set."""

    def __init__(self, source: Source, stopping: asyncio.Event) -> None:
        self._source = source
        self._stopping = stopping

    async def run(self, out: Channel[MediaItem]) -> None:
        running = asyncio.ensure_future(self._source.run(out))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            running.cancel()
            stopping.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)

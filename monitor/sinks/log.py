"""Incidents as newline-delimited JSON, in a file or on standard output. Alerts wait while the disk is slow; none is lost on shutdown."""

import asyncio
import json
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from monitor.errors import SinkError
from monitor.media import Alert, Event
from monitor.sinks.records import Records

CAPACITY = 10_000  # alerts that wait for a disk that does not take them; beyond that the oldest is dropped and counted
RETRY_S = 1.0


class IncidentLog:
    """One line per alert, flushed at once. `run` writes until `close`, then drains.

    `count("log", "delivered" | "retried" | "dropped")` learns what became of each line.
    """

    def __init__(self, path: str, records: Records, count: Callable[[str, str], None], retry_s: float = RETRY_S) -> None:
        """`path`: "-" is standard output. Raises SinkError when the file cannot be opened."""
        self._path = path
        self._records = records
        self._count = count
        self._retry_s = retry_s
        self._waiting: deque[str] = deque()
        self._news = asyncio.Event()
        self._closed = False
        if path != "-":
            self._write("")

    def __call__(self, stream: str, event: Event) -> None:
        if not isinstance(event, Alert):
            return
        if len(self._waiting) >= CAPACITY:
            self._waiting.popleft()
            self._count("log", "dropped")
        self._waiting.append(json.dumps(self._records.of(event), ensure_ascii=False) + "\n")
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def run(self) -> None:
        while self._waiting or not self._closed:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                if await self._deliver():
                    continue
                if self._closed:
                    self._give_up()
                else:
                    await asyncio.sleep(self._retry_s)

    async def _deliver(self) -> bool:
        line = self._waiting.popleft()
        try:
            await asyncio.to_thread(self._write, line)
        except SinkError:
            self._waiting.appendleft(line)
            self._count("log", "retried")
            return False
        self._count("log", "delivered")
        return True

    def _give_up(self) -> None:
        """The service ends and the file still refuses: what is left goes to standard error instead of nowhere."""
        while self._waiting:
            sys.stderr.write(self._waiting.popleft())
            self._count("log", "dropped")

    def _write(self, line: str) -> None:
        try:
            if self._path == "-":
                sys.stdout.write(line)
                sys.stdout.flush()
            else:
                with Path(self._path).open("a", encoding="utf-8") as file:
                    file.write(line)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SinkError(
                f"log.incidents_path: {self._path} cannot be written ({reason}); give a path in a folder that is writable"
            ) from None

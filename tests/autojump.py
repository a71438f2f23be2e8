"""An event loop whose clock jumps to the next timer when nothing is ready: tests that wait for hours take milliseconds."""

import asyncio
import selectors
from typing import Any


class AutojumpLoop(asyncio.SelectorEventLoop):
    """Virtual time starts at 0 and moves only when every task waits for a timer. Work in threads is waited for in real time."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self._now_s = 0.0
        self._in_threads = 0

    def time(self) -> float:
        return self._now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        future = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, future: Any) -> None:
        self._in_threads -= 1

    def _run_once(self) -> None:
        if not self._ready and self._scheduled and not self._in_threads:  # type: ignore[attr-defined]
            self._now_s = max(self._now_s, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]

"""Many streams, one model: whatever waits while the model is busy goes into its next call together."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.inference.session import Arrays

Run = Callable[[Arrays], dict[str, NDArray[np.float32]]]


@dataclass(eq=False, slots=True)
class _Request:
    inputs: Arrays
    answer: "asyncio.Future[dict[str, NDArray[np.float32]]]"

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def shape(self) -> tuple[tuple[int, ...], ...]:
        return tuple(array.shape[1:] for array in self.inputs.values())


class Batcher:
    """Joins requests along the first axis, up to `max_rows`, when their other axes are equal. Adds no delay of its own.

    There is no task to own: of all callers that wait, the one whose turn it is runs the model for everybody. A caller that is cancelled
    leaves the others' requests in the queue.
    """

    def __init__(self, run: Run, max_rows: int = 32, on_batch: Callable[[int], None] = lambda rows: None) -> None:
        self._run = run
        self._max_rows = max_rows
        self._on_batch = on_batch
        self._turn = asyncio.Lock()
        self._waiting: list[_Request] = []

    async def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """`inputs`: name → array [rows, …]; gives name → array [rows, …]."""
        request = _Request(inputs, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        try:
            async with self._turn:
                if not request.answer.done():
                    await self._serve(self._take(request))
        finally:
            if request in self._waiting:
                self._waiting.remove(request)
        return request.answer.result()

    def _take(self, first: _Request) -> list[_Request]:
        batch, rows = [first], first.rows
        for request in self._waiting:
            if request is not first and request.shape == first.shape and rows + request.rows <= self._max_rows:
                batch.append(request)
                rows += request.rows
        return batch

    async def _serve(self, batch: list[_Request]) -> None:
        joined = {name: np.concatenate([request.inputs[name] for request in batch]) for name in batch[0].inputs}
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(None, self._run, joined)
        except Exception as error:
            for request in batch:
                request.answer.set_exception(error)
                request.answer.exception()  # each caller raises it by `result`; one that was cancelled need not
            return
        self._on_batch(sum(request.rows for request in batch))
        start = 0
        for request in batch:
            request.answer.set_result({name: array[start : start + request.rows] for name, array in outputs.items()})
            start += request.rows

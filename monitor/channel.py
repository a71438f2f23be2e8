"""A bounded queue between two tasks that states what happens when it is full, and counts it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
WhenFull = Literal["wait", "drop_oldest"]
HARD_LIMIT_FACTOR = 8  # a stuck consumer costs at most this many times `capacity`, whatever is in the queue


class Channel(Generic[T]):
    """Single-consumer queue of about `capacity` items; iterate over it to read.

    "wait": `put` waits for room, so a file loses nothing. "drop_oldest": `put` never waits; the oldest item that is `droppable`
    makes room and is counted in `dropped`. Items that are not droppable (sound, track changes) are kept up to 8 × `capacity`.
    `peak` is the largest depth seen, `received` counts all that was ever put in.
    """

    def __init__(self, capacity: int, when_full: WhenFull, droppable: Callable[[T], bool] = lambda item: True) -> None:
        self.capacity = capacity
        self.when_full = when_full
        self.dropped = 0
        self.peak = 0
        self.received = 0
        self._droppable = droppable
        self._items: deque[T] = deque()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = False

    @property
    def depth(self) -> int:
        return len(self._items)

    @property
    def finished(self) -> bool:
        """Closed and empty: what the reader holds is the last item."""
        return self._closed and not self._items

    async def put(self, item: T) -> None:
        while self.when_full == "wait" and len(self._items) >= self.capacity:
            self._writable.clear()
            await self._writable.wait()
        self.put_nowait(item)

    def put_nowait(self, item: T) -> None:
        """Add at once, for callers that cannot wait; only "drop_oldest" then makes room."""
        if len(self._items) >= self.capacity and self.when_full == "drop_oldest":
            self._drop_one()
        self._items.append(item)
        self.received += 1
        self.peak = max(self.peak, len(self._items))
        self._readable.set()

    def close(self) -> None:
        """No more items will come; the reader drains what is left and stops."""
        self._closed = True
        self._readable.set()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._readable.clear()
            await self._readable.wait()
        item = self._items.popleft()
        self._writable.set()
        return item

    def _drop_one(self) -> None:
        for index, item in enumerate(self._items):
            if self._droppable(item):
                del self._items[index]
                self.dropped += 1
                return
        if len(self._items) >= self.capacity * HARD_LIMIT_FACTOR:
            self._items.popleft()
            self.dropped += 1

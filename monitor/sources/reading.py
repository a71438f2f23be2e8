"""From a generator in a worker thread to the stream's channel."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from monitor.channel import Channel
from monitor.media import MediaInfo, MediaItem

CLOSE_PATIENCE_S = 1.0  # a cancelled source waits this long for the read in progress; the thread then ends by its read timeout
MOST_UNDERWAY = 64  # batches that a live source hands over before it waits for the event loop

Batches = Generator[list[MediaItem], None, None]
"""Blocks while it reads; every list holds at least one item."""


async def deliver(batches: Batches, out: Channel[MediaItem], *, paced: bool = False) -> None:
    """Until the media ends or the generator raises; waits for room. `paced`: nothing comes before its time by the loop's clock."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    worker = ThreadPoolExecutor(1, thread_name_prefix="container")
    try:
        while batch := await loop.run_in_executor(worker, next, batches, None):
            for item in batch:
                if paced and not isinstance(item, MediaInfo):
                    await asyncio.sleep(started_s + item.time_s - loop.time())
                await out.put(item)
    finally:
        await _ended(worker, batches.close)


async def deliver_live(batches: Batches, out: Channel[MediaItem]) -> None:
    """Like `deliver`, without waiting: the thread goes on reading while the loop is busy, so that nothing is lost before FFmpeg has it."""
    loop = asyncio.get_running_loop()
    worker = ThreadPoolExecutor(1, thread_name_prefix="container")
    room = threading.Semaphore(MOST_UNDERWAY)
    stopped = threading.Event()
    underway: deque[list[MediaItem]] = deque()

    def take() -> None:
        while underway:
            for item in underway.popleft():
                out.put_nowait(item)
            room.release()

    def read() -> None:
        with closing(batches):
            for batch in batches:
                room.acquire()
                if stopped.is_set():
                    return
                underway.append(batch)
                if len(underway) == 1:  # else the loop has been told and is not there yet
                    loop.call_soon_threadsafe(take)

    reading = loop.run_in_executor(worker, read)
    reading.add_done_callback(lambda done: done.cancelled() or done.exception())  # when cancelled, nobody else asks for it
    try:
        await asyncio.shield(reading)
    finally:
        stopped.set()
        room.release()
        await _ended(worker, lambda: None)


async def _ended(worker: ThreadPoolExecutor, last: Callable[[], None]) -> None:
    ending = asyncio.wrap_future(worker.submit(last))
    done, _ = await asyncio.wait([ending], timeout=CLOSE_PATIENCE_S)
    worker.shutdown(wait=bool(done))

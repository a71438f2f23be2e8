"""From a generator in a worker thread to the stream's channel."""

import asyncio
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

from monitor.channel import Channel
from monitor.media import MediaInfo, MediaItem

CLOSE_PATIENCE_S = 2.0  # a cancelled source waits this long for the read in progress; the thread then ends by its read timeout

Batches = Generator[list[MediaItem], None, None]
"""Blocks while it reads; every list holds at least one item."""


async def deliver(batches: Batches, out: Channel[MediaItem], *, paced: bool = False) -> None:
    """Until the media ends or the generator raises. `paced`: no item earlier than its time after the start, by the loop's clock."""
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
        closing = asyncio.wrap_future(worker.submit(batches.close))
        done, _ = await asyncio.wait([closing], timeout=CLOSE_PATIENCE_S)
        worker.shutdown(wait=bool(done))

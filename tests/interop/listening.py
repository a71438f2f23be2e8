"""What every interop test of a source needs: run it, take what comes, leave nothing behind."""

import asyncio
import threading

from monitor.channel import Channel
from monitor.media import MediaItem, VideoFrame
from monitor.sources import Source, feed


async def listen(source: Source, enough=lambda items: False, seconds: float = 25) -> list[MediaItem]:
    """Items until `enough(items)`, the end, or an error, which is raised."""
    channel: Channel[MediaItem] = Channel(64, "drop_oldest", lambda item: isinstance(item, VideoFrame))
    items: list[MediaItem] = []

    task = asyncio.create_task(feed(source, channel))
    async with asyncio.timeout(seconds):
        async for item in channel:
            items.append(item)
            if enough(items):
                task.cancel()
                break
        await asyncio.gather(task, return_exceptions=True)
    for thread in threading.enumerate():  # a read in progress ends by itself; on a busy machine a little later
        if thread.name.startswith("container"):
            await asyncio.to_thread(thread.join, 12)
            assert not thread.is_alive()
    if not task.cancelled():
        task.result()
    return items


def of(items: list[MediaItem], kind: type) -> list:
    return [item for item in items if isinstance(item, kind)]

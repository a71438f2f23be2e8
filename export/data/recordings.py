"""A whole file as monitor reads it."""

from pathlib import Path

from monitor.channel import Channel
from monitor.media import MediaItem
from monitor.sources import feed
from monitor.sources.container import ContainerSource

MOST_ITEMS = 100_000


async def items_of(path: Path) -> list[MediaItem]:
    """Everything in it, in time order. Raises SourceError when it cannot be read."""
    items: Channel[MediaItem] = Channel(MOST_ITEMS, "wait")
    await feed(ContainerSource(str(path)), items)
    return [item async for item in items]

"""What a source gives, all of it, for the tests of changed media."""

from monitor.channel import Channel
from monitor.media import MediaItem
from monitor.sources import Source


async def run(source: Source) -> list[MediaItem]:
    out: Channel[MediaItem] = Channel(10_000, "wait")
    await source.run(out)
    out.close()
    return [item async for item in out]

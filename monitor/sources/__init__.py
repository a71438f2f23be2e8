"""Where media comes from. A source is anything with `run`; a new one is one file here and one line in `config.SOURCES`."""

from importlib import import_module
from typing import Protocol, cast

from monitor.channel import Channel
from monitor.config import SOURCES, Ingest, Stream
from monitor.media import MediaItem


class Source(Protocol):
    """Brings one stream's media in."""

    async def run(self, out: Channel[MediaItem]) -> None:
        """Put a MediaInfo, then frames and sound in time order, into `out` until the media ends; then return.

        Raises SourceError when the media cannot be opened or breaks off. Leaves nothing running when cancelled.
        """


async def feed(source: Source, out: Channel[MediaItem]) -> None:
    """Run `source` into `out`, which is closed however that ends. Raises what the source raises."""
    try:
        await source.run(out)
    finally:
        out.close()


def open_stream(stream: Stream, ingest: Ingest) -> Source:
    """What a configured stream asks for; nothing is opened before `run`."""
    module = import_module(f"monitor.sources.{SOURCES[stream.source]}")
    return cast(Source, module.open_stream(stream, ingest))

"""Where media comes from. A source is anything with `run`; a new one is one file."""

from typing import Protocol

from monitor.channel import Channel
from monitor.media import MediaItem


class Source(Protocol):
    """Brings one stream's media in."""

    async def run(self, out: Channel[MediaItem]) -> None:
        """Put a MediaInfo, then frames and sound in time order, into `out` until the media ends; then return.

        Raises SourceError when the media cannot be opened or breaks off. Leaves nothing running when cancelled.
        """

"""A publisher of a Janus VideoRoom. Over Janus' HTTP API we subscribe to it by WebRTC, or have it forwarded to us as plain RTP.

The room does not see us either way. A subscription has sender reports, which Janus makes from the arrival of the publisher's packets, and
repeats what is lost. A forward (`via=rtp`) has neither: sound and pictures keep their places of arrival and `sync` abstains.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import parse_qs, urlsplit

from monitor.channel import Channel
from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import MediaItem
from monitor.sources.address import Pinned, reachable
from monitor.sources.janus_room import PAYLOAD_TYPES, Id, Room
from monitor.sources.opening import safe_name
from monitor.sources.pinned_http import connected
from monitor.sources.rtp import RtpSource
from monitor.sources.webrtc import WebRtcSource

WATCH_S = 5.0  # how often it is asked whether the publisher is still there; Janus forgets a session that is silent for 60 s
CODECS = {"opus": "opus/48000/2", "pcmu": "PCMU/8000", "pcma": "PCMA/8000", "g722": "G722/8000"} | {
    codec: f"{codec.upper()}/90000" for codec in ("vp8", "vp9", "h264", "h265", "av1")
}
_ADDRESS = "janus+https://host/janus?room=1234&display=alice"


def open_stream(stream: Stream, ingest: Ingest) -> "JanusSource":
    return JanusSource(Wanted.of(stream.address), stream.token, ingest, str(stream.bind))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an address asks for: `room`, the publisher by `display` or `feed`, and the codec of every kind that shall be forwarded."""

    url: str
    room: Id
    display: str | None
    feed: Id | None
    via: Literal["webrtc", "rtp"]
    codecs: Mapping[str, str]

    @classmethod
    def of(cls, address: str) -> "Wanted":
        parts = urlsplit(address.removeprefix("janus+"))
        told = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        via = told.pop("via", "webrtc")
        usual = (("audio", "opus"), ("video", "vp8")) if via == "rtp" else ()
        codecs = {kind: told.pop(kind, codec) for kind, codec in usual}
        room, display, feed = told.pop("room", ""), told.pop("display", None), told.pop("feed", None)
        unknown = set(codecs.values()) - CODECS.keys() - {"none"}
        if told or unknown or not room or (display is None) == (feed is None) or via not in ("webrtc", "rtp"):
            raise SourceError(
                f"{safe_name(address)}: write {_ADDRESS}, or feed=ID; with &via=rtp also &audio= and &video=, which name a codec or none"
            )
        kept = {kind: codec for kind, codec in codecs.items() if codec != "none"}
        return cls(parts._replace(query="").geturl(), _number(room), display, feed and _number(feed), cast(Any, via), kept)

    @property
    def sdp(self) -> str:
        """Of what is forwarded."""
        sections = [
            f"m={kind} 0 RTP/AVPF {PAYLOAD_TYPES[kind]}\r\na=rtpmap:{PAYLOAD_TYPES[kind]} {CODECS[codec]}\r\n"
            for kind, codec in self.codecs.items()
        ]
        return "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" + "".join(sections)


class JanusSource:
    """See `Source`. `token`: the room's pin, or for a forward its secret. `bind`: where a forward comes to; Janus must reach it."""

    def __init__(self, wanted: Wanted, token: str | None, ingest: Ingest, bind: str) -> None:
        self.name = safe_name(wanted.url)
        self._wanted = wanted
        self._keys = {"secret" if wanted.via == "rtp" else "pin": token} if token is not None else {}
        self._ingest = ingest
        self._bind = bind

    async def run(self, out: Channel[MediaItem]) -> None:
        async with connected(self._wanted.url, self._ingest) as (client, pinned):
            room = Room(client, pinned.target, self._wanted.room, self._keys)
            await room.enter()
            publisher = await self._publisher(room)
            if publisher is None:
                raise SourceError(f"{self.name}: nobody of that name publishes in room {self._wanted.room}", retryable=True)
            bring = self._forwarded if self._wanted.via == "rtp" else self._subscribed
            try:
                await _first_of(bring(room, publisher, pinned, out), self._until_gone(room, publisher))
            finally:
                await room.leave(publisher)

    async def _subscribed(self, room: Room, publisher: Id, pinned: Pinned, out: Channel[MediaItem]) -> None:
        within_s = self._ingest.open_timeout_s
        source = WebRtcSource(ingest=self._ingest, name=self.name, connect_timeout_s=within_s, frozen_timeout_s=self._ingest.read_timeout_s)
        try:
            offer = await room.subscribe(publisher, within_s)
            await room.start(await source.answer(reachable(offer, pinned.host, self._ingest.allow_hosts, self.name)))
            await source.run(out)
        finally:
            await source.close()

    async def _forwarded(self, room: Room, publisher: Id, pinned: Pinned, out: Channel[MediaItem]) -> None:
        async def listening(ports: Mapping[str, tuple[int, int]]) -> Mapping[str, tuple[str, int]]:
            return {kind: (pinned.addresses[0], port) for kind, port in (await room.forward(publisher, self._bind, ports)).items()}

        await RtpSource(self._wanted.sdp, self._ingest, bind=self._bind, name=self.name, listening=listening).run(out)

    async def _publisher(self, room: Room) -> Id | None:
        """Its id, while it publishes."""
        wanted = self._wanted
        for one in await room.publishers():
            if one.get("id") == wanted.feed if wanted.feed is not None else one.get("display") == wanted.display:
                return cast(Id, one["id"])
        return None

    async def _until_gone(self, room: Room, publisher: Id) -> None:
        """Keeps the session alive, too."""
        while await self._publisher(room) == publisher:  # noqa: ASYNC110  nobody else would tell
            await asyncio.sleep(WATCH_S)


async def _first_of(*waiting: Coroutine[Any, Any, None]) -> None:
    """Until one of them ends; the others are cancelled. Raises what any of them raises."""
    tasks = [asyncio.create_task(one) for one in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def _number(text: str) -> Id:
    return int(text) if text.isdigit() else text

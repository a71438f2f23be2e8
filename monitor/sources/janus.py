"""A publisher of a Janus VideoRoom: asked for over Janus' HTTP API (list, forward, stop), its media come as plain RTP.

The room does not see us. Janus forwards no sender reports, so sound and pictures keep their places of arrival and `sync` abstains.
"""

import asyncio
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from monitor.channel import Channel
from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import MediaItem
from monitor.sources.opening import safe_name
from monitor.sources.pinned_http import Client, connected
from monitor.sources.rtp import RtpSource

WATCH_S = 5.0  # how often it is asked whether the publisher is still there; Janus forgets a session that is silent for 60 s
GOODBYE_S = 2.0
TYPES = {"audio": 111, "video": 96}  # payload types that Janus shall use
CODECS = {"opus": "opus/48000/2", "pcmu": "PCMU/8000", "pcma": "PCMA/8000", "g722": "G722/8000"} | {
    codec: f"{codec.upper()}/90000" for codec in ("vp8", "vp9", "h264", "h265", "av1")
}
_ADDRESS = "janus+https://host/janus?room=1234&display=alice"
NO_SUCH_FEED = 428  # the publisher left between two requests
Id = int | str  # Janus takes either, as it was configured


def open_stream(stream: Stream, ingest: Ingest) -> "JanusSource":
    return JanusSource(Wanted.of(stream.address), stream.token, ingest, str(stream.bind))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an address asks for: `room`, the publisher by `display` or `feed`, and per kind the codec (None: not wanted)."""

    url: str
    room: Id
    display: str | None
    feed: Id | None
    codecs: Mapping[str, str]

    @classmethod
    def of(cls, address: str) -> "Wanted":
        parts = urlsplit(address.removeprefix("janus+"))
        told = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        codecs = {kind: told.pop(kind, usual) for kind, usual in (("audio", "opus"), ("video", "vp8"))}
        room, display, feed = told.pop("room", ""), told.pop("display", None), told.pop("feed", None)
        unknown = set(codecs.values()) - CODECS.keys() - {"none"}
        if told or unknown or not room or (display is None) == (feed is None):
            raise SourceError(f"{safe_name(address)}: write {_ADDRESS}, or feed=ID; audio= and video= name a codec or none")
        kept = {kind: codec for kind, codec in codecs.items() if codec != "none"}
        return cls(parts._replace(query="").geturl(), _number(room), display, feed and _number(feed), kept)

    @property
    def sdp(self) -> str:
        sections = [
            f"m={kind} 0 RTP/AVPF {TYPES[kind]}\r\na=rtpmap:{TYPES[kind]} {CODECS[codec]}\r\n" for kind, codec in self.codecs.items()
        ]
        return "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" + "".join(sections)


class JanusSource:
    """See `Source`. `secret`: the room's, which Janus wants for forwarding. `bind`: where the media come to; Janus must reach it."""

    def __init__(self, wanted: Wanted, secret: str | None, ingest: Ingest, bind: str) -> None:
        self.name = safe_name(wanted.url)
        self._wanted = wanted
        self._secret = {"secret": secret} if secret is not None else {}
        self._ingest = ingest
        self._bind = bind

    async def run(self, out: Channel[MediaItem]) -> None:
        async with connected(self._wanted.url, self._ingest) as (client, pinned):
            room = await _Room.enter(client, pinned.target, self._wanted.room, self._secret)
            publisher = await self._publisher(room)
            if publisher is None:
                raise SourceError(f"{self.name}: nobody of that name publishes in room {self._wanted.room}", retryable=True)

            async def listening(ports: Mapping[str, tuple[int, int]]) -> Mapping[str, tuple[str, int]]:
                return {kind: (pinned.addresses[0], port) for kind, port in (await room.forward(publisher, self._bind, ports)).items()}

            source = RtpSource(self._wanted.sdp, self._ingest, bind=self._bind, name=self.name, listening=listening)
            tasks = [asyncio.create_task(source.run(out)), asyncio.create_task(self._until_gone(room, publisher))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                await room.leave(publisher)
            for result in results:
                if isinstance(result, Exception):
                    raise result

    async def _publisher(self, room: "_Room") -> Id | None:
        """Its id, while it publishes."""
        wanted = self._wanted
        for one in await room.publishers():
            if one.get("id") == wanted.feed if wanted.feed is not None else one.get("display") == wanted.display:
                return cast(Id, one["id"])
        return None

    async def _until_gone(self, room: "_Room", publisher: Id) -> None:
        """Keeps the session alive, too."""
        while await self._publisher(room) == publisher:  # noqa: ASYNC110  nobody else would tell
            await asyncio.sleep(WATCH_S)


class _Room:
    """A session with the VideoRoom plug-in: each request is a POST, answered at once. By names that Janus 0.x and 1.x share."""

    def __init__(self, client: Client, path: str, room: Id, secret: Mapping[str, str]) -> None:
        self._client = client
        self._path = path
        self._room = {"room": room, **secret}
        self._forwarded: list[int] = []

    @classmethod
    async def enter(cls, client: Client, path: str, room: Id, secret: Mapping[str, str]) -> "_Room":
        entered = cls(client, path.rstrip("/"), room, secret)
        for request in ({"janus": "create"}, {"janus": "attach", "plugin": "janus.plugin.videoroom"}):
            entered._path += f"/{(await entered._post(request)).get('data', {}).get('id', 0)}"
        return entered

    async def publishers(self) -> list[dict[str, Any]]:
        found = await self._ask({"request": "listparticipants"})
        return [one for one in found.get("participants", []) if one.get("publisher")]

    async def forward(self, publisher: Id, host: str, ports: Mapping[str, tuple[int, int]]) -> dict[str, int]:
        """Has the media sent to `ports`, kind → (RTP, RTCP); returns the ports where Janus itself takes RTCP, by kind."""
        body: dict[str, Any] = {"publisher_id": publisher, "host": host, "host_family": "ipv6" if ":" in host else "ipv4"}
        for kind, (rtp, rtcp) in ports.items():
            body |= {f"{kind}_port": rtp, f"{kind}_rtcp_port": rtcp, f"{kind}_pt": TYPES[kind]}
        told = (await self._ask({"request": "rtp_forward", **body})).get("rtp_stream", {})
        self._forwarded = [told[key] for key in ("audio_stream_id", "video_stream_id") if key in told]
        found = (await self._ask({"request": "listforwarders"})).get("publishers", [])
        ours = [one for of in found for one in of.get("forwarders", []) if one.get("stream_id") in self._forwarded]
        return {str(one["type"]): int(one["local_rtcp_port"]) for one in ours if "local_rtcp_port" in one}

    async def leave(self, publisher: Id) -> None:
        """Stops our forwards: Janus would go on sending until the publisher leaves."""
        with suppress(SourceError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                for stream_id in self._forwarded:
                    await self._ask({"request": "stop_rtp_forward", "publisher_id": publisher, "stream_id": stream_id})
                self._path = self._path.rpartition("/")[0]
                await self._post({"janus": "destroy"})

    async def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._post({"janus": "message", "body": {**self._room, **body}})
        data = answer.get("plugindata", {}).get("data", {})
        if "error" in data:
            code, error = data.get("error_code"), _one_line(data["error"])
            raise SourceError(f"{self._client.base}: Janus says: {error}", retryable=code == NO_SUCH_FEED)
        return cast(dict[str, Any], data)

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps({**body, "transaction": secrets.token_hex(8)})
        answer = await self._client.ask("POST", self._path, {"Content-Type": "application/json"}, text)
        try:
            told = json.loads(answer.text)
        except ValueError:
            told = None
        if answer.status != 200 or not isinstance(told, dict) or told.get("janus") not in ("success", "error"):
            raise SourceError(
                f"{self._client.base}{self._path}: is no Janus HTTP API (status {answer.status})", retryable=answer.status >= 500
            )
        if told["janus"] == "error":
            raise SourceError(f"{self._client.base}: Janus says: {_one_line(told.get('error', {}).get('reason', ''))}")
        return told


def _number(text: str) -> Id:
    return int(text) if text.isdigit() else text


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:200]

"""A VideoRoom of Janus over its HTTP API, by names that Janus 0.x and 1.x share: list, subscribe, forward, leave."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from monitor.errors import SourceError
from monitor.sources.pinned_http import Answer, Client

GOODBYE_S = 2.0
PLUGIN = "janus.plugin.videoroom"
PAYLOAD_TYPES = {"audio": 111, "video": 96}  # of what Janus forwards
NO_SUCH_FEED = 428  # the publisher left between two requests
Id = int | str  # Janus takes either, as it was configured


class Room:
    """A session with the plug-in. Every request is a POST that is answered at once; only the offer of a subscription comes as an event."""

    def __init__(self, client: Client, path: str, room: Id, keys: Mapping[str, str]) -> None:
        self._client = client
        self._path = path.rstrip("/")
        self._room = {"room": room, **keys}
        self._forwarded: list[int] = []

    async def enter(self) -> None:
        for request in ({"janus": "create"}, {"janus": "attach", "plugin": PLUGIN}):
            self._path += f"/{(await self._post(request)).get('data', {}).get('id', 0)}"

    async def publishers(self) -> list[dict[str, Any]]:
        found = await self._ask({"request": "listparticipants"})
        return [one for one in found.get("participants", []) if one.get("publisher")]

    async def subscribe(self, publisher: Id, within_s: float) -> str:
        """Janus' SDP offer of all that the publisher sends."""
        await self._ask({"request": "join", "ptype": "subscriber", "feed": publisher, "streams": [{"feed": publisher}]})
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    told = _told(await self._client.ask("GET", f"{self._path.rpartition('/')[0]}?maxev=1", {}))
                    self._checked(told.get("plugindata", {}).get("data", {}))
                    if (offer := told.get("jsep", {})).get("type") == "offer":
                        return str(offer.get("sdp", ""))
        raise SourceError(f"{self._client.base}: Janus makes no offer", retryable=True)

    async def start(self, answer_sdp: str) -> None:
        await self._ask({"request": "start"}, {"type": "answer", "sdp": answer_sdp})

    async def forward(self, publisher: Id, host: str, ports: Mapping[str, tuple[int, int]]) -> dict[str, int]:
        """Has the media sent to `ports`, kind → (RTP, RTCP); returns the ports where Janus itself takes RTCP, by kind."""
        body: dict[str, Any] = {"publisher_id": publisher, "host": host, "host_family": "ipv6" if ":" in host else "ipv4"}
        for kind, (rtp, rtcp) in ports.items():
            body |= {f"{kind}_port": rtp, f"{kind}_rtcp_port": rtcp, f"{kind}_pt": PAYLOAD_TYPES[kind]}
        told = (await self._ask({"request": "rtp_forward", **body})).get("rtp_stream", {})
        self._forwarded = [told[key] for key in ("audio_stream_id", "video_stream_id") if key in told]
        found = (await self._ask({"request": "listforwarders"})).get("publishers", [])
        ours = [one for of in found for one in of.get("forwarders", []) if one.get("stream_id") in self._forwarded]
        return {str(one["type"]): int(one["local_rtcp_port"]) for one in ours if "local_rtcp_port" in one}

    async def leave(self, publisher: Id) -> None:
        """Ends a subscription and our forwards, which Janus would go on with until the publisher leaves."""
        with suppress(SourceError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                for stream_id in self._forwarded:
                    await self._ask({"request": "stop_rtp_forward", "publisher_id": publisher, "stream_id": stream_id})
                self._path = self._path.rpartition("/")[0]
                await self._post({"janus": "destroy"})

    async def _ask(self, body: dict[str, Any], jsep: Mapping[str, str] | None = None) -> dict[str, Any]:
        answer = await self._post({"janus": "message", "body": {**self._room, **body}, **({"jsep": jsep} if jsep else {})})
        return self._checked(answer.get("plugindata", {}).get("data", {}))

    def _checked(self, data: dict[str, Any]) -> dict[str, Any]:
        if "error" in data:
            raise SourceError(
                f"{self._client.base}: Janus says: {_one_line(data['error'])}", retryable=data.get("error_code") == NO_SUCH_FEED
            )
        return data

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps({**body, "transaction": secrets.token_hex(8)})
        answer = await self._client.ask("POST", self._path, {"Content-Type": "application/json"}, text)
        told = _told(answer)
        if answer.status != 200 or told.get("janus") not in ("success", "ack", "error"):
            raise SourceError(
                f"{self._client.base}{self._path}: is no Janus HTTP API (status {answer.status})", retryable=answer.status >= 500
            )
        if told["janus"] == "error":
            raise SourceError(f"{self._client.base}: Janus says: {_one_line(told.get('error', {}).get('reason', ''))}")
        return told


def _told(answer: Answer) -> dict[str, Any]:
    """Empty for what is no JSON object."""
    try:
        told = json.loads(answer.text)
    except ValueError:
        return {}
    return cast(dict[str, Any], told) if isinstance(told, dict) else {}


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:200]

"""WHEP: we are the viewer of a media server (MediaMTX, Janus with its plug-in, a CDN): one POST brings its answer, DELETE ends it.

After draft-ietf-wish-whep: the client offers, the server answers 201 with the session's address in Location.
"""

import asyncio
from contextlib import suppress
from urllib.parse import urljoin

from monitor.channel import Channel
from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import MediaItem
from monitor.sources.address import reachable
from monitor.sources.opening import safe_name
from monitor.sources.pinned_http import Answer, Client, connected
from monitor.sources.webrtc import WebRtcSource

GOODBYE_S = 2.0
_STATUS = {
    401: ("refuses the token; check token_file", False),
    403: ("refuses the token; check token_file", False),
    404: ("has no such stream (404); is the path right, does somebody publish there?", True),
    406: ("has no codec in common with us (406)", False),
    415: ("is no WHEP server: it takes no SDP (415)", False),
}


def open_stream(stream: Stream, ingest: Ingest) -> "WhepSource":
    return WhepSource(stream.address, stream.token, ingest)


class WhepSource:
    """Watches what a media server publishes at a WHEP address; see `Source`."""

    def __init__(self, url: str, token: str | None, ingest: Ingest) -> None:
        self.name = safe_name(url)
        self._url = url
        self._authorization = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._ingest = ingest

    async def run(self, out: Channel[MediaItem]) -> None:
        async with connected(self._url, self._ingest) as (client, pinned):
            source = WebRtcSource(
                ingest=self._ingest,
                name=self.name,
                connect_timeout_s=self._ingest.open_timeout_s,
                frozen_timeout_s=self._ingest.read_timeout_s,
            )
            session: str | None = None
            try:
                headers = {"Content-Type": "application/sdp", "Accept": "application/sdp", **self._authorization}
                answer = await client.ask("POST", pinned.target, headers, await source.offer())
                session = self._session(client, answer, pinned.target)
                await source.accept(self._checked(answer, pinned.host))
                await source.run(out)
            finally:
                await source.close()
                if session is not None:
                    await self._say_goodbye(client, session)

    def _session(self, client: Client, answer: Answer, target: str) -> str | None:
        """Path and query of the session; None when there is none, or when it is said to live on another server."""
        address = urljoin(f"{client.base}{target}", answer.headers.get("Location", ""))
        return address.removeprefix(client.base) if answer.status == 201 and address.startswith(f"{client.base}/") else None

    def _checked(self, answer: Answer, host: str) -> str:
        """The answer's SDP, without candidates that lead where URLs may not. Raises SourceError."""
        if answer.status != 201:
            why, retryable = _STATUS.get(answer.status, (f"answers {answer.status}", answer.status >= 500 or answer.status in (409, 429)))
            raise SourceError(f"{self.name}: the server {why}", retryable=retryable)
        return reachable(answer.text, host, self._ingest.allow_hosts, self.name)

    async def _say_goodbye(self, client: Client, session: str) -> None:
        with suppress(SourceError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await client.ask("DELETE", session, self._authorization)

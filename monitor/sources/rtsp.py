"""RTSP cameras and media servers: FFmpeg behind a gate that leads to the pinned address and to no other."""

import asyncio
import ssl
from typing import Literal

import av

from monitor.channel import Channel
from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import MediaItem
from monitor.sources.address import LookUp, look_up, pin
from monitor.sources.demux import read_live
from monitor.sources.gate import gate_to
from monitor.sources.opening import explain_live, open_live, safe_name
from monitor.sources.reading import Batches, deliver_live

OPTIONS = {
    "tcp": {"rtsp_transport": "tcp", "protocol_whitelist": "rtsp,tcp"},
    "udp": {"rtsp_transport": "udp", "protocol_whitelist": "rtsp,tcp,rtp,udp", "rtsp_flags": "filter_src"},
}


class RtspSource:
    """An rtsp:// or rtsps:// URL. Reports sync_source "arrival" until both tracks have a sender report.

    Every run looks the host up anew and judges the answer anew. `tls_verify`: the certificate must be trusted and name the host.
    """

    def __init__(
        self,
        url: str,
        ingest: Ingest,
        *,
        transport: Literal["tcp", "udp"] = "tcp",
        tls_verify: bool = True,
        find: LookUp = look_up,
    ) -> None:
        self.name = safe_name(url)
        self._url = url
        self._ingest = ingest
        self._transport = transport
        self._tls_verify = tls_verify
        self._find = find

    async def run(self, out: Channel[MediaItem]) -> None:
        """See `Source.run`. SourceError.retryable is True for a network's bad day and False for what a person must mend."""
        pinned = await asyncio.to_thread(pin, self._url, ("rtsp", "rtsps"), self._ingest.allow_hosts, self._find)
        tls = _tls(verify=self._tls_verify) if pinned.scheme == "rtsps" else None
        try:
            async with gate_to(pinned, self.name, self._ingest, tls) as gate:
                try:
                    await deliver_live(self._batches(gate.url), out)
                except SourceError as error:
                    raise gate.trouble or error from None
        except OSError as error:
            raise explain_live(error, self.name) from None

    def _batches(self, url: str) -> Batches:
        try:
            container = open_live(url, "rtsp", OPTIONS[self._transport], self._ingest)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise explain_live(error, self.name) from None
        yield from read_live(container, self.name, self._ingest)
        raise SourceError(f"{self.name}: the server ended the stream", retryable=True)  # a camera has no end


def _tls(*, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def open_stream(stream: Stream, ingest: Ingest) -> RtspSource:
    return RtspSource(stream.address, ingest, transport=stream.transport, tls_verify=stream.tls_verify)

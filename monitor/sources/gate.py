"""The only way from FFmpeg to an RTSP server: a relay on loopback that connects to the pinned address and reads every answer.

FFmpeg by itself looks names up again, follows a redirect to any host, and sends UDP to whatever `source=` the server names. Through the
gate it knows no address but the gate's. What is lost: the request lines say 127.0.0.1 instead of the host's name; RTSP servers go by
path. TLS is spoken here, with the host's name for SNI and certificate.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast
from urllib.parse import quote

from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.sources.address import Pinned
from monitor.sources.limits import Rates

LOOPBACK = "127.0.0.1"
GOODBYE_S = 1.0  # FFmpeg may take this long to take its leave of the server
GATHER_S = 0.03  # what comes within this time goes on together: waking two threads for every packet costs more than decoding it
LARGE_BYTES = 1 << 16  # after that much at once there is no waiting
MOST_HEAD_BYTES = 8192
_ANSWER = re.compile(rb"RTSP/1\.0 (\d{3})( [ -\xff]*)?")
_REQUEST = re.compile(rb"(OPTIONS|GET_PARAMETER|SET_PARAMETER) [!-~]+ RTSP/1\.0")
_FIELD = re.compile(rb"([A-Za-z0-9-]+)[ \t]*:[ \t]*([ -\xff\t]{0,2000})")


class Answers:
    """What a server sends, let through message by message (RFC 2326, interleaved frames too). Pure: bytes in, bytes out.

    It is strict where FFmpeg is lenient, so that both see the same messages and none can hide inside another.
    """

    def __init__(self, name: str, address: str, ingest: Ingest) -> None:
        self._name = name
        self._address = address
        self._ingest = ingest
        self._held = bytearray()
        self._owed = 0  # bytes of a frame or body that may still pass

    def passed(self, data: bytes) -> bytes:
        """What FFmpeg may read now. Raises SourceError for a redirect, an SDP beyond the limits, or what is no plain RTSP."""
        self._held += data
        through = bytearray()
        while self._held:
            if self._owed:
                taken = min(self._owed, len(self._held))
                through += self._held[:taken]
                del self._held[:taken]
                self._owed -= taken
            elif self._held.startswith(b"\r\n"):
                del self._held[:2]
            elif self._held[:1] == b"$":
                if len(self._held) < 4:
                    break
                self._owed = 4 + int.from_bytes(self._held[2:4], "big")
            elif (message := self._message()) is not None:
                through += message
            else:
                break
        return bytes(through)

    def _message(self) -> bytes | None:
        """A whole message, or None while more of it is to come."""
        end = self._held.find(b"\r\n\r\n", 0, MOST_HEAD_BYTES)
        if end < 0:
            if len(self._held) >= MOST_HEAD_BYTES or not self._held[:20].isascii():
                raise self._refused("the answer is not RTSP; is the port right?", retryable=True)
            return None
        lines = bytes(self._held[:end]).split(b"\r\n")
        fields = [_FIELD.fullmatch(line) for line in lines[1:]]
        answer = _ANSWER.fullmatch(lines[0])
        if (answer is None and not _REQUEST.fullmatch(lines[0])) or None in fields:
            raise self._refused("the answer is not RTSP; is the port right?", retryable=True)
        if answer is not None and answer[1].startswith(b"3"):
            raise self._refused("the server redirects to another address; name that address yourself if you trust it")
        known = [(field[1].lower(), field[2].strip()) for field in fields if field]
        body_end = end + 4 + self._length([value for name, value in known if name == b"content-length"])
        if len(self._held) < body_end:
            return None
        body = bytes(self._held[end + 4 : body_end])
        tracks = len(re.findall(rb"^m=", body, re.MULTILINE))
        if tracks > self._ingest.max_tracks:
            raise self._refused(f"its SDP names {tracks} tracks, more than ingest.max_tracks ({self._ingest.max_tracks})")
        del self._held[:body_end]
        return b"\r\n".join(self._line(line) for line in lines) + b"\r\n\r\n" + body

    def _length(self, values: list[bytes]) -> int:
        if not values:
            return 0
        if len(values) > 1 or not values[0].isdigit() or len(values[0]) > 9:
            raise self._refused("the answer is not RTSP; is the port right?", retryable=True)
        if int(values[0]) > self._ingest.max_sdp_bytes:
            raise self._refused(f"its SDP has {int(values[0])} bytes, more than ingest.max_sdp_bytes ({self._ingest.max_sdp_bytes})")
        return int(values[0])

    def _line(self, line: bytes) -> bytes:
        """Media over UDP comes from, and reports go to, the pinned address and no other."""
        if not line.lower().startswith(b"transport"):
            return line
        kept = [part for part in line.split(b",")[0].split(b";") if not part.strip().lower().startswith((b"source", b"destination"))]
        return b";".join([*kept, b"source=" + self._address.encode()])

    def _refused(self, why: str, *, retryable: bool = False) -> SourceError:
        return SourceError(f"{self._name}: {why}", retryable=retryable)


class Gate:
    """`url` is what FFmpeg opens, credentials included."""

    def __init__(self, url: str, outside: "_Side") -> None:
        self.url = url
        self._outside = outside

    @property
    def trouble(self) -> SourceError | None:
        """Why the gate shut by itself, if it did."""
        return self._outside.trouble


@asynccontextmanager
async def gate_to(pinned: Pinned, name: str, ingest: Ingest, tls: ssl.SSLContext | None) -> AsyncIterator[Gate]:
    """Connects within `ingest.open_timeout_s`, then waits for FFmpeg. Raises OSError (also TimeoutError, ssl.SSLError) when it cannot."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(ingest.open_timeout_s):
        outside, address = await _connect(pinned, tls)
    inside = _Side()
    inside.other, outside.other = outside, inside
    outside.check(Answers(name, address, ingest), Rates(name, ingest))
    visitors = iter([inside])
    try:
        server = await loop.create_server(lambda: next(visitors, None) or _TurnedAway(), LOOPBACK, 0)
        login = "" if pinned.user is None else f"{quote(pinned.user, safe='')}:{quote(pinned.password or '', safe='')}@"
        try:
            yield Gate(f"rtsp://{login}{LOOPBACK}:{server.sockets[0].getsockname()[1]}{pinned.target}", outside)
        finally:
            server.close()
            await inside.left(GOODBYE_S)
    finally:
        outside.abort()
        inside.abort()
        await asyncio.sleep(0)  # for the transports to close


async def _connect(pinned: Pinned, tls: ssl.SSLContext | None) -> tuple["_Side", str]:
    """To the first pinned address that answers."""
    failure: OSError = ConnectionError()
    name = pinned.host if tls else None
    for address in pinned.addresses:
        side = _Side()
        try:
            await asyncio.get_running_loop().create_connection(lambda side=side: side, address, pinned.port, ssl=tls, server_hostname=name)
        except OSError as error:
            failure = error
        else:
            return side, address
    raise failure


class _Side(asyncio.Protocol):
    """One end of the relay: what comes in here goes out at the other. Nothing is read before both are there."""

    def __init__(self) -> None:
        self.other: _Side | None = None
        self.trouble: SourceError | None = None
        self._answers: Answers | None = None
        self._rates: Rates | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.Event()
        self._other_is_full = False
        self._gathering: asyncio.TimerHandle | None = None

    def check(self, answers: Answers, rates: Rates) -> None:
        """The server's end: it is read, counted, and gathered."""
        self._answers, self._rates = answers, rates

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.other is None:
            self._transport.pause_reading()
        else:
            self.other.go_on()

    def data_received(self, data: bytes) -> None:
        try:
            if self._answers is not None and self._rates is not None:
                self._rates.packet(len(data), self._loop.time())
                data = self._answers.passed(data)
                self._gather(len(data))
        except SourceError as error:
            self.trouble = error
            self.close()
        else:
            if self.other is not None:
                self.other.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other._transport is not None:
            self.other._other_is_full = True
            self.other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other._other_is_full = False
            self.other.go_on()

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def go_on(self) -> None:
        if self._transport is not None and self._gathering is None and not self._other_is_full:
            self._transport.resume_reading()

    def _gather(self, size_bytes: int) -> None:
        if self._transport is not None and size_bytes < LARGE_BYTES:
            self._transport.pause_reading()
            self._gathering = self._loop.call_later(GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self.go_on()

    def close(self) -> None:
        """Both ends, after what is underway."""
        for side in (self, self.other):
            if side is not None and side._transport is not None:
                side._transport.close()

    def abort(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def left(self, within_s: float) -> None:
        """Until this end is gone, if it ever was there."""
        if self._transport is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), within_s)


class _TurnedAway(asyncio.Protocol):
    """For whoever comes to the gate after FFmpeg."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()

"""The ports of one plain RTP track: packets go on to FFmpeg on loopback, its reports and our requests go back to whoever sent."""

import asyncio
import secrets
import socket
import struct
from collections.abc import Callable

from monitor.errors import SourceError
from monitor.sources.limits import Rates
from monitor.sources.sdp import Media

LOOPBACK = "127.0.0.1"
BUFFER_BYTES = 1 << 20
PACKETS_AT_ONCE = 64  # then other tasks have their turn
ANOTHER_SENDER_S = 2.0  # a silence after which somebody else may send to the port
HEADER_BYTES = 12
RTCP_TYPES = range(64, 96)  # the second byte without its top bit (RFC 5761 4)
Address = tuple[str, int]


class TrackPorts:
    """Listens from the first moment; takes packets of one payload type from one sender at a time.

    `arrived` is set by the first packet. `over` is set with a `trouble`, after which nothing more is passed on: a packet of another
    numbering (SSRC), or more than `rates` allow, which may be shared with other tracks. `strange` holds a payload type that the SDP does
    not name. `reports_to`: where RTCP goes if not to where the sender's comes from. Close it in the event loop that it was made in.
    """

    def __init__(self, media: Media, bind: str, rates: Rates) -> None:
        self.media = media
        self.arrived = asyncio.Event()
        self.over = asyncio.Event()
        self.trouble: SourceError | None = None
        self.strange: int | None = None
        self.newest_s = float("-inf")  # by the loop's clock
        self.reports_to: Address | None = None
        self._rates = rates
        self._loop = asyncio.get_running_loop()
        self._ssrc: bytes | None = None
        self._own_ssrc = secrets.token_bytes(4)
        self._sender: Address | None = None
        self._reporter: Address | None = None
        self._sockets: list[socket.socket] = []
        self.ffmpeg_port = _free_pair()
        try:
            self._inside = self._listen(LOOPBACK, 0, self._from_ffmpeg)
            self._rtp = self._listen(bind, media.port, self._from_sender)
            self._rtcp = self._rtp if media.rtcp_port is None else self._listen(bind, media.rtcp_port, self._from_sender)
        except OSError as error:
            self.close()
            raise SourceError(f"{rates.name}: cannot listen on {bind} port {media.port} ({error.strerror})", retryable=True) from None
        self.ffmpeg_port = _free_pair()

    @property
    def ports(self) -> tuple[int, int]:
        """Where RTP and RTCP are waited for."""
        return self._rtp.getsockname()[1], self._rtcp.getsockname()[1]

    def ask_for_key_frame(self) -> None:
        """An empty receiver report and a picture loss indication (RFC 3550 6.4.2, RFC 4585 6.3.1)."""
        if self._ssrc is not None:
            report = struct.pack("!BBH4s", 0x80, 201, 1, self._own_ssrc)
            self._send_back(report + struct.pack("!BBH4s4s", 0x81, 206, 2, self._own_ssrc, self._ssrc))

    def close(self) -> None:
        """FFmpeg hears a goodbye (RFC 3550 6.6) and ends its wait for packets."""
        if self._sockets:
            self._pass_on(struct.pack("!BBH4s", 0x81, 203, 1, self._ssrc or self._own_ssrc), self.ffmpeg_port + 1)
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets = []

    def _listen(self, address: str, port: int, took: Callable[[bytes, Address], None]) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets.append(sock)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.bind((address, port))
        self._loop.add_reader(sock, self._read, sock, took)
        return sock

    def _read(self, sock: socket.socket, took: Callable[[bytes, Address], None]) -> None:
        for _ in range(PACKETS_AT_ONCE):
            try:
                data, sender = sock.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier packet of ours met a closed port
            if len(data) >= 8 and data[0] >> 6 == 2:
                took(data, sender[:2])

    def _from_sender(self, data: bytes, sender: Address) -> None:
        if self.trouble is not None:
            return
        try:
            if data[1] & 0x7F in RTCP_TYPES:
                self._take_report(data, sender)
            elif len(data) >= HEADER_BYTES:
                self._take_media(data, sender)
        except SourceError as error:
            self.trouble = error
            self.over.set()

    def _take_report(self, data: bytes, sender: Address) -> None:
        if self._sender is None or sender[0] == self._sender[0]:
            self._rates.packet(len(data), self._loop.time())
            self._reporter = sender
            self._pass_on(data, self.ffmpeg_port + 1)

    def _take_media(self, data: bytes, sender: Address) -> None:
        if data[1] & 0x7F != self.media.payload_type:
            self.strange = data[1] & 0x7F
        elif self._is_ours(sender):
            self._rates.packet(len(data), self._loop.time())
            self._ssrc = self._ssrc or data[8:12]
            if data[8:12] != self._ssrc:
                raise SourceError(f"{self._rates.name}: the sender began anew", retryable=True)
            self._pass_on(data, self.ffmpeg_port)
            self.arrived.set()

    def _is_ours(self, sender: Address) -> bool:
        now_s = self._loop.time()
        if sender != self._sender and now_s - self.newest_s < ANOTHER_SENDER_S:
            return False
        if self._sender is not None and sender[0] != self._sender[0]:
            self._reporter = None
        self._sender, self.newest_s = sender, now_s
        return True

    def _from_ffmpeg(self, data: bytes, sender: Address) -> None:
        if sender[1] in (self.ffmpeg_port, self.ffmpeg_port + 1) and data[1] & 0x7F in RTCP_TYPES:
            self._send_back(data)

    def _pass_on(self, data: bytes, port: int) -> None:
        try:
            self._inside.sendto(data, (LOOPBACK, port))
        except OSError:
            return  # FFmpeg does not listen yet, or its buffer is full

    def _send_back(self, data: bytes) -> None:
        to = self.reports_to or self._reporter
        if to is None and self._sender is not None:
            to = self._sender if self._rtcp is self._rtp else (self._sender[0], self._sender[1] + 1)
        if to is None:
            return
        try:
            self._rtcp.sendto(data, to)
        except OSError:
            return  # the sender is gone, or never listens


def _free_pair() -> int:
    """An even port of loopback that is free together with the one above (RFC 3550 11)."""
    for _ in range(50):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
            first.bind((LOOPBACK, 0))
            port = int(first.getsockname()[1])
            try:
                second.bind((LOOPBACK, port + 1))
            except (OSError, OverflowError):
                continue
            if port % 2 == 0:
                return port
    raise SourceError("no two neighbouring UDP ports are free on this machine", retryable=True)

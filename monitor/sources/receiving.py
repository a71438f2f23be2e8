"""Our deadline jitter buffer in the place of aiortc's, which waits for a lost packet until 512 others came.

aiortc has no door for this: six private names of its RTCRtpReceiver are touched, here and in `webrtc._listen_to_reports` only (hence
aiortc's upper bound in pyproject.toml). Statistics, bandwidth estimate, RTX, payload formats and decoders stay aiortc's.
"""

import asyncio
from collections import OrderedDict
from typing import Any

from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket

from monitor.sources.jitter import Encoded, JitterBuffer, Packet, place_in_picture

PATIENCE_S = {"audio": 0.08, "video": 0.2}  # time for three requests; sound is never sent again and only waits for what was overtaken
MOST_UNDECODED = 64  # pictures: two and a half seconds behind; then all up to the next key frame give way
MARKS_KEPT = 256


class WholeTimestamps:
    """32-bit RTP timestamps without their wraps (aiortc's TimestampMapper subtracts the first one and forgets it)."""

    def __init__(self) -> None:
        self._newest: int | None = None

    def map(self, timestamp: int) -> int:
        newest = timestamp if self._newest is None else self._newest
        self._newest = newest + (timestamp - newest + (1 << 31)) % (1 << 32) - (1 << 31)
        return self._newest


class Reception:
    """Takes the packets of one receiver, asks for lost ones and key frames, and feeds the receiver's decoder.

    `undecoded` counts pictures that the decoder could not take, or that gave way because it could not keep up.
    """

    def __init__(self, receiver: Any, kind: str) -> None:
        """`receiver`: an RTCRtpReceiver that has received nothing yet; `kind`: "audio" or "video"."""
        self.undecoded = 0
        self._kind = kind
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._ssrc: int | None = None
        self._codec: Any = None
        self._marks: OrderedDict[int, tuple[int, bool]] = OrderedDict()
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._bytes = 0
        self._forget()
        receiver._RTCRtpReceiver__jitter_buffer = self
        receiver._RTCRtpReceiver__nack_generator = None

    @property
    def lost(self) -> int:
        """Packets that never came in time."""
        return self._lost_before + self._buffer.lost

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """What aiortc calls in place of its own buffer: (whether to ask for a key frame, a frame to decode); we do both ourselves."""
        if packet.ssrc != self._ssrc:
            self._forget(packet.ssrc)
        self._codec = self._receiver._RTCRtpReceiver__codecs[packet.payload_type]
        self.undecoded += self._receiver._RTCRtpReceiver__decoder_error.is_set()  # aiortc asks for a key frame and clears it
        first, key = place_in_picture(self._codec.name, packet.payload)
        data = packet._data  # type: ignore[attr-defined]
        self._bytes += len(packet.payload)
        last = bool(packet.marker) or self._kind == "audio"
        now_s = self._loop.time()
        self._decode(self._buffer.add(Packet(packet.sequence_number, packet.timestamp, data, first, last, key), now_s))
        self._ask(now_s)
        return False, None

    def mark(self, timestamp: int) -> tuple[int | None, bool]:
        """(SSRC, whether it is damaged) of the decoded frame with this timestamp."""
        return self._marks.get(timestamp, (self._ssrc, False))

    def taken_bytes(self) -> int:
        """Received since the last call."""
        taken, self._bytes = self._bytes, 0
        return taken

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _forget(self, ssrc: int | None = None) -> None:
        """Another sender on the same track: nothing of the old one's numbering holds."""
        self._lost_before = self.lost if self._ssrc is not None else 0
        self._ssrc = ssrc
        self._buffer = JitterBuffer(PATIENCE_S[self._kind], asks=self._kind == "video")
        self._timestamps = WholeTimestamps()

    def _on_time(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        self._decode(self._buffer.due(now_s))
        self._ask(now_s)

    def _decode(self, encoded: list[Encoded]) -> None:
        queue = self._receiver._RTCRtpReceiver__decoder_queue
        for frame in encoded:
            if self._kind == "video" and queue.qsize() >= MOST_UNDECODED:
                self.undecoded += 1
                self._buffer.damage(self._loop.time())
                continue
            timestamp = self._timestamps.map(frame.timestamp)
            self._marks[timestamp] = (self._ssrc or 0, frame.damaged)
            if len(self._marks) > MARKS_KEPT:
                self._marks.popitem(last=False)
            queue.put((self._codec, JitterFrame(frame.data, timestamp)))

    def _ask(self, now_s: float) -> None:
        ssrc = self._ssrc
        if again := self._buffer.requests(now_s):
            self._send(self._receiver._send_rtcp_nack(ssrc, again))
        if self._buffer.wants_key_frame(now_s):
            self._send(self._receiver._send_rtcp_pli(ssrc))
        wakes_at_s = self._buffer.wakes_at_s()
        if wakes_at_s is not None and self._timer is None:
            self._timer = self._loop.call_at(max(wakes_at_s, now_s + 0.005), self._on_time)

    def _send(self, sending: Any) -> None:
        task = self._loop.create_task(sending)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

"""Our deadline jitter buffer in the place of aiortc's, which waits for a lost packet until 512 others came.

aiortc has no door for this: private names of its RTCRtpReceiver are touched, here and in `webrtc._listen_to_reports` only (hence aiortc's
upper bound in pyproject.toml). Statistics, bandwidth estimate, RTX and payload formats stay aiortc's; its decoding thread gets nothing.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtpPacket

from monitor.sources.jitter import Encoded, JitterBuffer, Packet, place_in_picture

PATIENCE_S = {"audio": 0.08, "video": 0.2}  # time for three requests; sound is never sent again and only waits for what was overtaken
Give = Callable[[RTCRtpCodecParameters, Encoded, int], bool]
"""Takes (codec, frame, SSRC) in order; False when later pictures cannot be whole without a new key frame."""


class Reception:
    """Takes the packets of one receiver, asks for lost ones and key frames, and gives whole frames in order."""

    def __init__(self, receiver: Any, kind: str, give: Give) -> None:
        """`receiver`: an RTCRtpReceiver that has received nothing yet; `kind`: "audio" or "video"."""
        self._kind = kind
        self._receiver = receiver
        self._give = give
        self._loop = asyncio.get_running_loop()
        self._ssrc = 0
        self._codec: Any = None
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._bytes = self._lost_before = 0
        self._buffer = self._new_buffer()
        receiver._RTCRtpReceiver__jitter_buffer = self
        receiver._RTCRtpReceiver__nack_generator = None

    @property
    def lost(self) -> int:
        """Packets that never came in time."""
        return self._lost_before + self._buffer.lost

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """What aiortc calls in place of its own buffer: (whether to ask for a key frame, a frame to decode); we do both ourselves."""
        if packet.ssrc != self._ssrc:  # another sender on the same track: nothing of the old one's numbering holds
            self._lost_before = self.lost
            self._ssrc, self._buffer = packet.ssrc, self._new_buffer()
        self._codec = self._receiver._RTCRtpReceiver__codecs[packet.payload_type]
        self._bytes += len(packet.payload)
        place = place_in_picture(self._codec.name, packet.payload)
        last = bool(packet.marker) or self._kind == "audio"
        now_s = self._loop.time()
        data = packet._data  # type: ignore[attr-defined]
        self._hand_out(self._buffer.add(Packet(packet.sequence_number, packet.timestamp, data, last, place), now_s), now_s)
        self._ask(now_s)
        return False, None

    def taken_bytes(self) -> int:
        """Received since the last call."""
        taken, self._bytes = self._bytes, 0
        return taken

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _new_buffer(self) -> JitterBuffer:
        return JitterBuffer(PATIENCE_S[self._kind], asks=self._kind == "video")

    def _on_time(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        self._hand_out(self._buffer.due(now_s), now_s)
        self._ask(now_s)

    def _hand_out(self, encoded: list[Encoded], now_s: float) -> None:
        for frame in encoded:
            if not self._give(self._codec, frame, self._ssrc):
                self._buffer.damage(now_s)

    def _ask(self, now_s: float) -> None:
        if again := self._buffer.requests(now_s):
            self._send(self._receiver._send_rtcp_nack(self._ssrc, again))
        if self._buffer.wants_key_frame(now_s):
            self._send(self._receiver._send_rtcp_pli(self._ssrc))
        wakes_at_s = self._buffer.wakes_at_s()
        if wakes_at_s is not None and self._timer is None:
            self._timer = self._loop.call_at(max(wakes_at_s, now_s + 0.005), self._on_time)

    def _send(self, sending: Any) -> None:
        task = self._loop.create_task(sending)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

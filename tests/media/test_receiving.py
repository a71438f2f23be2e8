"""Reception between aiortc's receiver and its decoder; the receiver is a fake with the private names that are used of the real one."""

import asyncio
import queue
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from aiortc.rtp import RtpPacket

from monitor.sources.receiving import MOST_UNDECODED, PATIENCE_S, Reception

VP8, OPUS = SimpleNamespace(name="VP8"), SimpleNamespace(name="opus")
KEY, INTER = b"\x10\x00", b"\x10\x01"  # payload descriptor, first byte of the picture


@dataclass
class Receiver:
    _RTCRtpReceiver__codecs: dict[int, Any] = field(default_factory=lambda: {96: VP8, 111: OPUS})
    _RTCRtpReceiver__decoder_error: threading.Event = field(default_factory=threading.Event)
    _RTCRtpReceiver__decoder_queue: queue.Queue[Any] = field(default_factory=queue.Queue)
    _RTCRtpReceiver__jitter_buffer: Any = None
    _RTCRtpReceiver__nack_generator: Any = "aiortc's"
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def _send_rtcp_nack(self, ssrc: int, lost: list[int]) -> None:
        self.asked.append(("packets", lost))

    async def _send_rtcp_pli(self, ssrc: int) -> None:
        self.asked.append(("key frame", ssrc))

    def decoding(self) -> list[int]:
        """Timestamps of what the decoder was given."""
        given = []
        while not self._RTCRtpReceiver__decoder_queue.empty():
            given.append(self._RTCRtpReceiver__decoder_queue.get()[1].timestamp)
        return given


def packet(sequence: int, payload: bytes = INTER, *, ssrc: int = 7, timestamp: int | None = None, payload_type: int = 96) -> RtpPacket:
    one = RtpPacket(payload_type, 1, sequence, sequence * 3600 if timestamp is None else timestamp, ssrc, payload)
    one._data = payload[1:]
    return one


async def test_the_private_names_are_aiortcs():
    peer = RTCPeerConnection()
    peer.addTransceiver("video", direction="recvonly")
    real = vars(peer.getTransceivers()[0].receiver)
    assert {name for name in vars(Receiver()) if name.startswith("_RTC")} <= real.keys()
    await peer.close()


async def test_lost_packets_are_asked_for_and_what_waits_is_given_out_by_the_deadline():
    receiver = Receiver()
    reception = Reception(receiver, "video")
    assert receiver._RTCRtpReceiver__jitter_buffer is reception
    assert receiver._RTCRtpReceiver__nack_generator is None
    for one in (packet(1, KEY), packet(2), packet(4)):
        assert reception.add(one) == (False, None)
    assert receiver.decoding() == [3600, 7200]
    await asyncio.sleep(PATIENCE_S["video"] + 0.3)
    assert receiver.asked[0] == ("packets", [3])
    assert receiver.asked.count(("packets", [3])) >= 2
    assert receiver.asked[-1] == ("key frame", 7)
    assert receiver.decoding() == [4 * 3600]
    assert [reception.mark(n * 3600) for n in (1, 2, 4)] == [(7, False), (7, False), (7, True)]
    assert reception.lost == 1
    reception.close()


async def test_another_ssrc_begins_anew():
    receiver = Receiver()
    reception = Reception(receiver, "video")
    reception.add(packet(1, KEY))
    reception.add(packet(3))
    reception.add(packet(9_000, KEY, ssrc=8, timestamp=5))
    assert receiver.decoding() == [3600, 5]
    assert (reception.mark(3600), reception.mark(5)) == ((7, False), (8, False))
    reception.close()


async def test_a_decoder_that_falls_behind_or_fails_costs_pictures_not_memory():
    receiver = Receiver()
    reception = Reception(receiver, "video")
    for sequence in range(MOST_UNDECODED + 10):
        reception.add(packet(sequence, INTER if sequence else KEY))
    assert (len(receiver.decoding()), reception.undecoded) == (MOST_UNDECODED, 10)
    reception.add(packet(MOST_UNDECODED + 10))
    assert reception.mark((MOST_UNDECODED + 10) * 3600) == (7, True)
    receiver._RTCRtpReceiver__decoder_error.set()
    reception.add(packet(MOST_UNDECODED + 11))
    assert reception.undecoded == 11
    reception.close()


async def test_sound_asks_for_nothing():
    receiver = Receiver()
    reception = Reception(receiver, "audio")
    for sequence in (1, 2, 4):
        reception.add(packet(sequence, b"\x00\x01", timestamp=sequence * 960, payload_type=111))
    await asyncio.sleep(PATIENCE_S["audio"] + 0.2)
    assert receiver.decoding() == [960, 1920, 3840]
    assert receiver.asked == []
    assert reception.taken_bytes() == 6
    assert reception.taken_bytes() == 0
    reception.close()


@pytest.mark.parametrize("start", [0, (1 << 32) - 1800])
async def test_timestamps_have_no_wraps(start):
    receiver = Receiver()
    reception = Reception(receiver, "video")
    for n in range(3):
        reception.add(packet(n, KEY, timestamp=(start + n * 3600) % (1 << 32)))
    assert receiver.decoding() == [start + n * 3600 for n in range(3)]
    reception.close()

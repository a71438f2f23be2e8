"""Reception in the place of aiortc's jitter buffer; the receiver is a fake with the private names that are used of the real one."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiortc import RTCPeerConnection
from aiortc.rtp import RtpPacket

from monitor.sources.jitter import Encoded
from monitor.sources.receiving import PATIENCE_S, Reception

VP8, OPUS = SimpleNamespace(name="VP8"), SimpleNamespace(name="opus")
KEY, INTER = b"\x10\x00", b"\x10\x01"  # payload descriptor, first byte of the picture


@dataclass
class Receiver:
    _RTCRtpReceiver__codecs: dict[int, Any] = field(default_factory=lambda: {96: VP8, 111: OPUS})
    _RTCRtpReceiver__jitter_buffer: Any = None
    _RTCRtpReceiver__nack_generator: Any = "aiortc's"
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def _send_rtcp_nack(self, ssrc: int, lost: list[int]) -> None:
        self.asked.append(("packets", lost))

    async def _send_rtcp_pli(self, ssrc: int) -> None:
        self.asked.append(("key frame", ssrc))


class Decoder:
    """Keeps what it is given: (RTP timestamp, SSRC, whether it is damaged); `takes` is what it answers."""

    def __init__(self) -> None:
        self.given: list[tuple[int, int, bool]] = []
        self.takes = True

    def __call__(self, codec: Any, encoded: Encoded, ssrc: int) -> bool:
        self.given.append((encoded.timestamp, ssrc, encoded.damaged))
        return self.takes


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
    receiver, decoder = Receiver(), Decoder()
    reception = Reception(receiver, "video", decoder)
    assert receiver._RTCRtpReceiver__jitter_buffer is reception
    assert receiver._RTCRtpReceiver__nack_generator is None
    for one in (packet(1, KEY), packet(2), packet(4)):
        assert reception.add(one) == (False, None)
    assert decoder.given == [(3600, 7, False), (7200, 7, False)]
    await asyncio.sleep(PATIENCE_S["video"] + 0.2)
    assert receiver.asked[0] == ("packets", [3])
    assert receiver.asked.count(("packets", [3])) >= 2
    assert receiver.asked[-1] == ("key frame", 7)
    assert decoder.given[2:] == [(4 * 3600, 7, True)]
    assert reception.lost == 1
    reception.close()


async def test_another_ssrc_begins_anew():
    receiver, decoder = Receiver(), Decoder()
    reception = Reception(receiver, "video", decoder)
    reception.add(packet(1, KEY))
    reception.add(packet(3))
    reception.add(packet(9_000, KEY, ssrc=8, timestamp=5))
    assert decoder.given == [(3600, 7, False), (5, 8, False)]
    reception.close()


async def test_a_decoder_that_cannot_go_on_gets_a_new_key_frame():
    receiver, decoder = Receiver(), Decoder()
    reception = Reception(receiver, "video", decoder)
    reception.add(packet(1, KEY))
    decoder.takes = False
    reception.add(packet(2))
    decoder.takes = True
    reception.add(packet(3))
    await asyncio.sleep(0)
    assert receiver.asked == [("key frame", 7)]
    reception.add(packet(4, KEY))
    assert [damaged for *_, damaged in decoder.given] == [False, False, True, False]
    reception.close()


async def test_sound_asks_for_nothing():
    receiver, decoder = Receiver(), Decoder()
    reception = Reception(receiver, "audio", decoder)
    for sequence in (1, 2, 4):
        reception.add(packet(sequence, b"\x00\x01", timestamp=sequence * 960, payload_type=111))
    await asyncio.sleep(PATIENCE_S["audio"] + 0.2)
    assert decoder.given == [(960, 7, False), (1920, 7, False), (3840, 7, False)]
    assert receiver.asked == []
    assert reception.taken_bytes() == 6
    assert reception.taken_bytes() == 0
    reception.close()

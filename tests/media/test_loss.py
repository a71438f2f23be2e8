"""What is seen of a call that loses packets, in virtual time: real encoders, our reception, real decoders, a network by a fixed pattern."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest
from aiortc.codecs import CODECS, depayload, get_encoder
from aiortc.rtp import RtpPacket

from monitor.config import Ingest
from monitor.media import VideoFrame
from monitor.sources.decoding import Decoding, Frame
from monitor.sources.jitter import Encoded
from monitor.sources.limits import Rates
from monitor.sources.receiving import Reception
from tests.autojump import AutojumpLoop
from tests.synth import picture

FPS = 25
ONE_WAY_S = 0.025
SIZE = (160, 96)
CALL_S = 15


class Sender:
    """Encodes a moving, grainy picture 25 times a second; answers PLI by a key frame and, with `repair`, NACK by the packet."""

    def __init__(self, codec: Any, *, repair: bool) -> None:
        self._encoder, self._codec, self._repair = get_encoder(codec), codec, repair
        self._sequence = self._count = 0
        self._sent: dict[int, RtpPacket] = {}
        self._noise = np.random.default_rng(1).integers(-6, 7, (8, SIZE[1], SIZE[0], 1))
        self.wants_key_frame = False

    def next_picture(self) -> list[RtpPacket]:
        rgb = np.clip(picture(self._count / FPS, *SIZE) + self._noise[self._count % 8], 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = self._count * 90_000 // FPS, Fraction(1, 90_000)
        self._count += 1
        payloads, timestamp = self._encoder.encode(frame, self.wants_key_frame)
        self.wants_key_frame = False
        return [self._packet(payload, timestamp, last=payload is payloads[-1]) for payload in payloads]

    def _packet(self, payload: bytes, timestamp: int, *, last: bool) -> RtpPacket:
        packet = RtpPacket(96, int(last), self._sequence % 0x10000, timestamp, 7, payload)
        packet._data = depayload(self._codec, payload)
        self._sent[packet.sequence_number] = packet
        self._sequence += 1
        return packet

    def again(self, sequences: list[int]) -> Iterator[RtpPacket]:
        return (self._sent[sequence] for sequence in sequences if self._repair)


@dataclass
class Network:
    """Carries packets one way and requests the other; loses this share of both. It is the receiver's `receiver` as well."""

    sender: Sender
    share: float
    chance: random.Random
    _RTCRtpReceiver__codecs: dict[int, Any]
    reception: Any = None
    _RTCRtpReceiver__jitter_buffer: Any = None
    _RTCRtpReceiver__nack_generator: Any = None
    key_frames_asked: int = 0
    lossy: bool = False

    def carry(self, packets: Any) -> None:
        for packet in packets:
            if not (self.lossy and self.chance.random() < self.share):
                asyncio.get_running_loop().call_later(ONE_WAY_S, self.reception.add, packet)

    async def _send_rtcp_nack(self, ssrc: int, lost: list[int]) -> None:
        await self._back()
        self.carry(self.sender.again(lost))

    async def _send_rtcp_pli(self, ssrc: int) -> None:
        self.key_frames_asked += 1
        await self._back()
        self.sender.wants_key_frame = True

    async def _back(self) -> None:
        if self.chance.random() < self.share:
            await asyncio.Event().wait()
        await asyncio.sleep(ONE_WAY_S)


async def call(codec_name: str, share: float, *, repair: bool) -> tuple[list[tuple[float, bool]], Network]:
    """(when, whether concealed) of each picture that was decoded."""
    loop = asyncio.get_running_loop()
    codec = next(codec for codec in CODECS["video"] if codec.mimeType == f"video/{codec_name}")
    sender = Sender(codec, repair=repair)
    network = Network(sender, share, random.Random(1), {96: codec})
    decoding = Decoding(Rates("it", Ingest()))
    seen: list[tuple[float, bool]] = []

    def give(codec: Any, encoded: Encoded, ssrc: int) -> bool:
        now_s = loop.time()
        taken = decoding.put(Frame("video", codec, encoded.data, now_s, encoded.damaged, len(encoded.data), now_s))
        decoding.end()
        for items in decoding.batches():
            seen.extend((now_s, item.concealed) for item in items if isinstance(item, VideoFrame))
        return taken

    network.reception = Reception(network, "video", give)
    for _ in range(CALL_S * FPS):
        network.carry(sender.next_picture())
        network.lossy = network.lossy or bool(seen)
        await asyncio.sleep(1 / FPS)
    network.reception.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    return seen, network


@pytest.mark.parametrize("share", [0.02, 0.05])
@pytest.mark.parametrize("repair", [True, False])
@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_loss_stalls_no_call(codec: str, repair: bool, share: float) -> None:
    """Concealed pictures count: the picture moves on, nothing is judged."""
    with asyncio.Runner(loop_factory=AutojumpLoop) as runner:
        seen, network = runner.run(call(codec, share, repair=repair))
    stalls_s = [later - earlier for (earlier, _), (later, _) in pairwise(seen)]
    concealed = sum(concealed for _, concealed in seen)
    told = f"{len(seen)} pictures, {concealed} concealed, {network.key_frames_asked} PLI, {network.reception.lost} packets lost"
    print(f"{codec} repair={repair} {share:.0%}: longest stall {max(stalls_s):.2f} s, {told}")
    assert max(stalls_s) <= 0.5
    assert seen[-1][0] > CALL_S - 1
    assert not repair or concealed < 25
    assert repair or concealed >= network.reception.lost > 0
    assert repair or any(earlier and not later for (_, earlier), (_, later) in pairwise(seen))

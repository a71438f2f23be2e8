"""A plain RTP track's ports: who may send, what is passed on, where reports and requests for key frames go."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest

from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.sources.limits import SPAN_S, Rates
from monitor.sources.rtp_ports import ANOTHER_SENDER_S, LOOPBACK, TrackPorts
from monitor.sources.sdp import Media
from tests.service.conftest import eventually

VIDEO = Media("video", 0, 0, "RTP/AVPF", 96, ("rtpmap:96 VP8/90000",))
MUXED = Media("video", 0, None, "RTP/AVPF", 96, ("rtpmap:96 VP8/90000",))
SSRC = b"abcd"
REPORT = struct.pack("!BBH4s20x", 0x80, 200, 6, SSRC)


def packet(number: int, payload_type: int = 96, ssrc: bytes = SSRC) -> bytes:
    return struct.pack("!BBHI4s", 0x80, payload_type, number, number * 3000, ssrc) + b"picture"


@contextlib.contextmanager
def udp(port: int = 0) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, port))
        sock.setblocking(False)
        yield sock


@contextlib.contextmanager
def opened(media: Media = VIDEO, rates: Rates | None = None) -> Iterator[tuple[TrackPorts, socket.socket, socket.socket]]:
    """The ports, and what FFmpeg would hear at its RTP and RTCP port."""
    with (
        contextlib.closing(TrackPorts(media, LOOPBACK, rates or Rates("call", Ingest()))) as track,
        udp(track.ffmpeg_port) as rtp,
        udp(track.ffmpeg_port + 1) as rtcp,
    ):
        yield track, rtp, rtcp


async def received(sock: socket.socket) -> list[bytes]:
    """What came until it was quiet for a moment."""
    packets: list[bytes] = []
    with contextlib.suppress(TimeoutError):
        while True:
            packets.append(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 2048), 0.2))
    return packets


async def test_media_and_reports_are_passed_on_and_feedback_finds_its_way_back() -> None:
    with opened() as (track, rtp, rtcp), udp() as sender, udp() as reporter:
        sender.sendto(packet(1), (LOOPBACK, track.ports[0]))
        reporter.sendto(REPORT, (LOOPBACK, track.ports[1]))
        assert await received(rtp) == [packet(1)]
        assert await received(rtcp) == [REPORT]
        rtcp.sendto(REPORT, track._inside.getsockname())
        track.ask_for_key_frame()
        pli = b"\x81\xce\x00\x02" + track._own_ssrc + SSRC
        assert sorted(await received(reporter)) == [REPORT, b"\x80\xc9\x00\x01" + track._own_ssrc + pli]
        assert await received(sender) == []


async def test_a_shared_port_is_taken_apart_and_answered_on() -> None:
    with opened(MUXED) as (track, rtp, rtcp), udp() as sender:
        for data in (packet(1), REPORT):
            sender.sendto(data, (LOOPBACK, track.ports[0]))
        assert track.ports[0] == track.ports[1]
        assert await received(rtp) == [packet(1)]
        assert await received(rtcp) == [REPORT]
        track.ask_for_key_frame()
        assert [len(data) for data in await received(sender)] == [20]


async def test_before_any_report_requests_go_to_the_port_above_or_where_it_was_told() -> None:
    with opened() as (track, rtp, _), udp() as sender, udp() as told:
        track.ask_for_key_frame()  # nobody is there yet
        sender.sendto(packet(1), (LOOPBACK, track.ports[0]))
        await received(rtp)
        with udp(sender.getsockname()[1] + 1) as above:
            track.ask_for_key_frame()
            assert [len(data) for data in await received(above)] == [20]
        track.reports_to = told.getsockname()
        track.ask_for_key_frame()
        assert [len(data) for data in await received(told)] == [20]


async def test_a_stranger_is_not_heard_before_the_sender_fell_silent() -> None:
    with opened() as (track, rtp, _), udp() as sender, udp() as stranger:
        for sock, number in ((sender, 1), (stranger, 2), (sender, 3)):
            sock.sendto(packet(number), (LOOPBACK, track.ports[0]))
            await eventually(track.arrived.is_set)
        assert await received(rtp) == [packet(1), packet(3)]
        track.newest_s -= ANOTHER_SENDER_S
        stranger.sendto(packet(4), (LOOPBACK, track.ports[0]))
        assert await received(rtp) == [packet(4)]
        assert not track.over.is_set()


async def test_what_is_no_packet_of_this_track_is_dropped_and_another_numbering_is_noticed() -> None:
    with opened() as (track, rtp, rtcp), udp() as sender:
        for data in (b"", b"x", b"GET / HTTP/1.1\r\n\r\n", packet(1, payload_type=97), packet(2)[:10]):
            sender.sendto(data, (LOOPBACK, track.ports[0]))
        assert await received(rtp) == []
        assert await received(rtcp) == []
        assert track.strange == 97
        sender.sendto(packet(3), (LOOPBACK, track.ports[0]))
        assert await received(rtp) == [packet(3)]
        assert not track.over.is_set()
        sender.sendto(packet(9, ssrc=b"efgh"), (LOOPBACK, track.ports[0]))
        await asyncio.wait_for(track.over.wait(), 5)
        assert "began anew" in str(track.trouble)
        assert track.trouble.retryable
        sender.sendto(packet(10), (LOOPBACK, track.ports[0]))
        assert await received(rtp) == []
        track.close()
        assert await received(rtcp) == [b"\x81\xcb\x00\x01" + SSRC]


async def test_a_sender_of_too_much_is_cut_off_before_ffmpeg() -> None:
    allowed = 100 * len(packet(1))
    with opened(rates=Rates("call", Ingest(max_kbps=allowed * 8 / 1000 / SPAN_S))) as (track, rtp, _), udp() as sender, udp() as stranger:
        for number in range(150):
            sender.sendto(packet(number), (LOOPBACK, track.ports[0]))
            stranger.sendto(packet(number), (LOOPBACK, track.ports[0]))  # is not heard, and counts for nothing
            if number == 99:
                assert await received(rtp) == [packet(n) for n in range(100)]
                assert not track.over.is_set()
        await asyncio.wait_for(track.over.wait(), 5)
        assert await received(rtp) == []
    assert str(track.trouble).startswith("call: sends more than ingest.max_kbps")
    assert not track.trouble.retryable


async def test_a_port_that_is_taken_may_be_free_later() -> None:
    with udp() as sock:
        port = sock.getsockname()[1]
        with pytest.raises(SourceError, match=f"cannot listen on {LOOPBACK} port {port}") as refused:
            TrackPorts(Media("audio", port, None, "RTP/AVP", 0, ()), LOOPBACK, Rates("call", Ingest()))
    assert refused.value.retryable

"""JitterBuffer: order, loss, deadlines, key frames; what VP8 and H.264 packets say about their picture."""

import random
from dataclasses import replace

import pytest
from aiortc.rtp import RTCP_RTPFB_NACK, RtcpPacket, RtcpRtpfbPacket

from monitor.sources.jitter import (
    ASK_AGAIN_S,
    HEALED_S,
    LEAP,
    SOUND,
    Encoded,
    JitterBuffer,
    Packet,
    Place,
    place_in_picture,
)

PATIENCE_S = 0.3


def picture(number: int, first_sequence: int, packets: int = 3, *, key: bool = False) -> list[Packet]:
    """Picture `number` of 25 a second, in so many packets."""
    return [
        Packet(
            (first_sequence + n) % 0x10000,
            number * 3600 % (1 << 32),
            b"%d.%d " % (number, n),
            n == packets - 1,
            Place(n == 0, key and n == 0, usable=n == 0),
        )
        for n in range(packets)
    ]


def call(pictures: int, packets: int = 3, start: int = 65_500) -> list[list[Packet]]:
    """The first is a key frame; sequence numbers wrap within the first dozen."""
    return [picture(number, start + number * packets, packets, key=number == 0) for number in range(pictures)]


def numbers(encoded: list[Encoded]) -> list[int]:
    return [int(one.data.split(b".")[0]) for one in encoded]


def feed(buffer: JitterBuffer, packets: list[Packet], now_s: float = 0.0) -> list[Encoded]:
    return [encoded for packet in packets for encoded in buffer.add(packet, now_s)]


def test_a_picture_is_given_out_with_its_last_packet():
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    first, second = call(2)
    assert feed(buffer, first[:2]) == []
    assert feed(buffer, first[2:]) == [Encoded(0, b"0.0 0.1 0.2 ", False)]
    assert feed(buffer, second) == [Encoded(3600, b"1.0 1.1 1.2 ", False)]
    assert buffer.wakes_at_s() is None


def test_a_sender_without_end_marks_is_a_packet_late():
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    unmarked = [replace(packet, last=False) for one in call(3) for packet in one]
    assert numbers(feed(buffer, unmarked)) == [0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_disorder_and_repetition_change_nothing(seed):
    chance = random.Random(seed)
    first, *later = call(60)
    packets = [packet for one in later for packet in one]
    late = [place + chance.uniform(0, 8) for place in range(len(packets))]
    packets = [packet for _, packet in sorted(zip(late, packets, strict=True), key=lambda pair: pair[0])]
    packets = [again for packet in packets for again in ([packet, packet] if chance.random() < 0.2 else [packet])]
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    assert numbers(feed(buffer, first + packets)) == list(range(60))
    assert (buffer.lost, buffer.late) == (0, len(packets) - 59 * 3)


def test_a_lost_packet_is_asked_for_until_it_comes():
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    first, second, third = call(3)
    feed(buffer, [*first, second[0], second[2]])
    assert buffer.requests(0.0) == [second[1].sequence]
    assert buffer.requests(ASK_AGAIN_S / 2) == []
    assert buffer.wakes_at_s() == ASK_AGAIN_S
    assert buffer.requests(ASK_AGAIN_S) == [second[1].sequence]
    assert feed(buffer, third, 0.1) == []
    assert numbers(buffer.add(second[1], 0.2)) == [1, 2]
    assert buffer.requests(0.3) == []
    assert not buffer.wants_key_frame(0.3)


def test_what_is_asked_for_around_the_wrap_can_be_written_down():
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    feed(buffer, picture(0, 65_530, key=True))
    feed(buffer, picture(1, 3))
    asked = buffer.requests(0.0)
    assert asked == [0, 1, 2, 65_533, 65_534, 65_535]
    packet = RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=2, lost=asked)
    assert RtcpPacket.parse(bytes(packet))[0].lost == asked


def test_after_the_deadline_pictures_go_on_damaged_until_a_key_frame():
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    pictures = call(10)
    feed(buffer, pictures[0] + pictures[1][:1] + pictures[1][2:] + pictures[2])
    assert buffer.due(PATIENCE_S - 0.01) == []
    assert not buffer.wants_key_frame(PATIENCE_S - 0.01)
    (third,) = buffer.due(PATIENCE_S)
    assert (numbers([third]), third.damaged, buffer.lost) == ([2], True, 1)
    assert buffer.wants_key_frame(PATIENCE_S)
    assert not buffer.wants_key_frame(PATIENCE_S + 0.1)
    assert buffer.wants_key_frame(PATIENCE_S + 0.3)
    assert [one.damaged for one in feed(buffer, pictures[3], 0.4)] == [True]
    assert [one.damaged for one in feed(buffer, picture(4, pictures[4][0].sequence, key=True), 0.5)] == [False]
    assert [one.damaged for one in feed(buffer, pictures[5], 0.6)] == [False]
    assert not buffer.wants_key_frame(9.0)


def test_a_picture_whose_begin_was_lost_is_not_given_out():
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    pictures = call(4)
    feed(buffer, pictures[0] + pictures[1][1:] + pictures[2])
    assert numbers(buffer.due(PATIENCE_S)) == [2]


def h264(number: int, first_sequence: int, *, key: bool = False) -> list[Packet]:
    """A picture of two slices, two packets each."""
    places = [Place(n == 0, key, usable=n % 2 == 0, partial=True) for n in range(4)]
    return [replace(packet, place=place) for packet, place in zip(picture(number, first_sequence, 4), places, strict=True)]


@pytest.mark.parametrize(
    ("gone", "kept"),
    [([0], b"1.2 1.3 "), ([1], b"1.0 1.2 1.3 "), ([2], b"1.0 1.1 "), ([3], b"1.0 1.1 1.2 "), ([0, 1, 2], b""), ([1, 2], b"1.0 ")],
)
@pytest.mark.parametrize("key", [False, True])
def test_what_came_of_an_h264_picture_is_given_out_damaged(gone, kept, key):
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    second = [packet for n, packet in enumerate(h264(1, 4, key=key)) if n not in gone]
    feed(buffer, [*h264(0, 0, key=True), *second, *h264(2, 8)])
    given = [Encoded(3600, kept, True)] if kept else []
    assert buffer.due(PATIENCE_S) == [*given, Encoded(7200, b"2.0 2.1 2.2 2.3 ", True)]
    assert buffer.wants_key_frame(PATIENCE_S)
    assert [one.damaged for one in feed(buffer, h264(3, 12, key=True), 0.4)] == [False]


def test_a_part_of_a_key_frame_begins_no_call():
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    first = h264(0, 0, key=True)
    assert feed(buffer, first[:1] + first[2:] + h264(1, 4)) == []
    assert buffer.due(PATIENCE_S) == []
    assert numbers(feed(buffer, h264(2, 8, key=True), 0.4)) == [2]


def test_nothing_comes_before_the_first_key_frame_which_is_asked_for():
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    _, *later = call(4)
    assert feed(buffer, [packet for one in later for packet in one]) == []
    assert buffer.wants_key_frame(0.0)
    assert numbers(feed(buffer, picture(4, later[-1][-1].sequence + 1, key=True))) == [4]


def test_a_sender_that_never_sends_key_frames_heals():
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    pictures = call(400)
    given = feed(buffer, pictures[0])
    for number in range(2, 400):
        given += feed(buffer, pictures[number], number * 0.04)
    damaged_s = sum(one.damaged for one in given) * 0.04
    assert damaged_s == pytest.approx(HEALED_S, abs=PATIENCE_S + 0.1)


@pytest.mark.parametrize("step", [LEAP + 40, 20_000, -20_000])
def test_a_sender_that_begins_anew_is_followed_at_once(step):
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    first, second = call(2)
    feed(buffer, first + second)
    again = picture(50, second[-1].sequence + step, key=True)
    assert numbers(feed(buffer, again)) == [50]
    assert buffer.requests(1.0) == []


def test_sound_waits_for_what_was_overtaken_and_asks_for_nothing():
    buffer = JitterBuffer(0.08, asks=False)
    packets = [Packet(n, n * 960, b"%d." % n, True, SOUND) for n in range(6)]
    assert numbers(feed(buffer, [packets[0], packets[2], packets[1]])) == [0, 1, 2]
    assert numbers(feed(buffer, packets[4:])) == []
    assert (buffer.requests(0.05), buffer.wakes_at_s()) == ([], 0.08)
    rest = buffer.due(0.08)
    assert (numbers(rest), [one.damaged for one in rest]) == ([4, 5], [False, False])
    assert not buffer.wants_key_frame(0.1)


def test_padding_is_no_picture():
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    first, second = call(2)
    padding = Packet(second[0].sequence, first[0].timestamp, b"", False, Place(False, False, usable=False))
    shifted = picture(1, second[0].sequence + 1)
    assert numbers(feed(buffer, [*first, padding, *shifted])) == [0, 1]


@pytest.mark.parametrize("share", [0.02, 0.05, 0.3])
def test_whatever_is_lost_nothing_waits_longer_than_the_deadline(share):
    chance = random.Random(3)
    buffer = JitterBuffer(PATIENCE_S, asks=True)
    given: list[tuple[float, Encoded]] = []
    for number in range(1000):
        now_s = number * 0.04
        one = picture(number, number * 3, key=number == 0 or buffer.wants_key_frame(now_s))
        given += [(now_s, encoded) for encoded in buffer.due(now_s)]
        given += [(now_s, encoded) for packet in one if chance.random() > share or number == 0 for encoded in buffer.add(packet, now_s)]
    assert all(now_s - numbers([encoded])[0] * 0.04 <= PATIENCE_S + 0.04 + 1e-6 for now_s, encoded in given)
    assert numbers([encoded for _, encoded in given]) == sorted(set(numbers([encoded for _, encoded in given])))
    assert len(buffer._waiting) < 40


@pytest.mark.parametrize(
    ("codec", "payload", "place"),
    [
        ("VP8", b"\x10\x00\x9d", (True, True, True)),
        ("VP8", b"\x10\x01\x9d", (True, False, True)),
        ("VP8", b"\x00\x00\x9d", (False, False, False)),
        ("VP8", b"\x11\x00\x9d", (False, False, False)),
        ("VP8", b"\x90\x80\x81\x23\x00", (True, True, True)),  # two-byte picture id
        ("VP8", b"\x90\xe0\x23\x07\x40\x01", (True, False, True)),  # one-byte picture id, TL0PICIDX, TID
        ("VP8", b"\x10", (True, False, True)),
        ("VP8", b"", (False, False, False)),
        ("H264", b"\x67\x42", (True, False, True)),  # SPS
        ("H264", b"\x65\x88", (True, True, True)),  # IDR, first slice
        ("H264", b"\x65\x40", (False, True, True)),  # IDR, another slice
        ("H264", b"\x41\x9a", (True, False, True)),
        ("H264", b"\x7c\x85\x88", (True, True, True)),  # FU-A, start of an IDR
        ("H264", b"\x7c\x05\x88", (False, True, False)),  # FU-A, middle of it
        ("H264", b"\x78\x00\x02\x67\x42\x00\x02\x65\x88", (True, True, True)),  # STAP-A: SPS, IDR
        ("H264", b"\x78\x00", (False, False, False)),
        ("H264", b"", (False, False, False)),
        ("opus", b"\x00", (True, True, True)),
    ],
)
def test_what_a_packet_says_about_its_picture(codec, payload, place):
    assert place_in_picture(codec, payload) == (*place, codec == "H264")

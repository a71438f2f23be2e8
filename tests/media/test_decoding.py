"""Decoding: order, times, what it says of what it cannot use."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from aiortc.codecs import CODECS

from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.media import AudioChunk, Lost, MediaInfo, MediaItem, VideoFrame
from monitor.sources.decoding import MOST_WAITING, Decoding, Frame
from monitor.sources.limits import Rates
from tests.media.recorded import encoded_pictures, encoded_sound

CODEC = {codec.mimeType: codec for kind in ("audio", "video") for codec in CODECS[kind]}
SIZE = (160, 120)
HERE = Ingest()


def seen(n: int, data: bytes, codec: Any = CODEC["video/VP8"], *, concealed: bool = False) -> Frame:
    return Frame("video", codec, data, n / 25, concealed, len(data), n / 25)


def heard(n: int, data: bytes, codec: Any = CODEC["audio/opus"]) -> Frame:
    return Frame("audio", codec, data, n / 50, False, len(data), n / 50)


def decoded(*work: Frame | MediaInfo, ingest: Ingest = HERE) -> list[MediaItem]:
    decoding = Decoding(Rates("the sender", ingest))
    for one in work:
        decoding.tell(one) if isinstance(one, MediaInfo) else decoding.put(one)
    decoding.end()
    return [item for batch in decoding.batches() for item in batch]


def test_pictures_and_sound_keep_their_times_and_marks():
    film, tape = encoded_pictures(SIZE), encoded_sound()
    work: list[Frame | MediaInfo] = [MediaInfo(True, True, "arrival")]
    for n in range(25):
        work += [seen(n, film[n], concealed=n == 3), heard(2 * n, tape[2 * n]), heard(2 * n + 1, tape[2 * n + 1])]
    items = decoded(*work)
    assert items[0] == work[0]
    pictures = [item for item in items if isinstance(item, VideoFrame)]
    assert [picture.time_s for picture in pictures] == [n / 25 for n in range(25)]
    assert [n for n, picture in enumerate(pictures) if picture.concealed] == [3]
    assert pictures[0].rgb.shape == (120, 160, 3)
    sound = [item for item in items if isinstance(item, AudioChunk)]
    assert sum(len(chunk.samples) for chunk in sound) == pytest.approx(16_000, abs=200)
    assert sound[0].time_s == 0


def test_what_no_decoder_can_use_is_told_and_a_key_frame_wanted():
    film = encoded_pictures(SIZE)
    decoding = Decoding(Rates("the sender", Ingest()))
    assert decoding.put(seen(0, film[0]))
    assert decoding.put(seen(1, b"\x00" * 40))
    batches = decoding.batches()
    assert isinstance(next(batches)[0], VideoFrame)
    assert next(batches) == [Lost(0.04, "video", frames=1)]
    assert not decoding.put(seen(2, film[2]))
    assert decoding.put(seen(3, film[3]))
    assert decoding.newest_s["video"] == 0
    batches.close()


def test_half_an_h264_picture_is_concealed():
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 160, 96, "yuv420p", Fraction(1, 25)
    encoder.options = {"tune": "zerolatency", "preset": "ultrafast"}
    film = []
    for n in range(6):
        rgb = np.random.default_rng(n).integers(0, 256, (96, 160, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
        frame.pts = n
        film += [bytes(packet) for packet in encoder.encode(frame)]
    film[3] = film[3][: len(film[3]) // 2]
    pictures = decoded(*(seen(n, data, CODEC["video/H264"]) for n, data in enumerate(film)))
    assert [picture.concealed for picture in pictures] == [False, False, False, True, False, False]
    assert [picture.time_s for picture in pictures] == [n / 25 for n in range(6)]


def test_a_codec_may_change_within_a_call():
    tape = encoded_sound()
    items = decoded(*(heard(n, tape[n]) for n in range(10)), *(heard(n, b"\xff" * 160, CODEC["audio/PCMU"]) for n in range(10, 20)))
    assert sum(len(item.samples) for item in items) == pytest.approx(0.4 * 16_000, abs=100)


def test_a_decoder_that_falls_behind_costs_pictures_not_memory():
    decoding = Decoding(Rates("the sender", Ingest()))
    taken = [decoding.put(seen(n, b"x")) for n in range(MOST_WAITING + 10)]
    assert (taken.count(True), decoding.refused) == (MOST_WAITING, 10)
    assert decoding.put(heard(0, b"x"))


def test_pictures_beyond_the_limits_end_the_stream():
    film = encoded_pictures(SIZE)
    with pytest.raises(SourceError, match="the sender: its pictures have 160 × 120 pixels"):
        decoded(seen(0, film[0]), ingest=Ingest(max_pixels=1000))
    with pytest.raises(SourceError, match="max_kbps"):
        decoded(seen(0, film[0]), ingest=Ingest(max_kbps=0.1))

"""What a live source may bring: just enough passes, a little more is refused and says which key decides."""

import pytest

from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.sources.limits import SPAN_S, Rates

INGEST = Ingest(max_pixels=640 * 360, max_fps=30, max_kbps=1000)


def play(seconds: float, fps: float, packet_bytes: int, burst: int = 0) -> None:
    rates = Rates("cam", INGEST)
    for n in range(round(seconds * fps)):
        rates.packet(packet_bytes, n / fps)
        rates.picture(640, 360)
    for _ in range(burst):
        rates.packet(packet_bytes, seconds)
        rates.picture(640, 360)


def test_what_is_allowed_passes_for_ever() -> None:
    play(60, fps=30, packet_bytes=1000 * 1000 // 8 // 30)


def test_a_burst_after_a_stall_is_no_offence() -> None:
    play(60, fps=10, packet_bytes=100, burst=90)


@pytest.mark.parametrize(("fps", "packet_bytes", "key"), [(33, 100, "max_fps"), (25, 1000 * 1000 // 8 // 24, "max_kbps")])
def test_a_little_more_is_refused_within_two_spans(fps: float, packet_bytes: int, key: str) -> None:
    with pytest.raises(SourceError, match=f"cam: .*{key}"):
        play(2 * SPAN_S, fps, packet_bytes)


def test_one_large_picture_is_refused() -> None:
    Rates("cam", INGEST).picture(360, 640)
    with pytest.raises(SourceError, match=r"640 × 361 pixels, more than ingest\.max_pixels"):
        Rates("cam", INGEST).picture(640, 361)

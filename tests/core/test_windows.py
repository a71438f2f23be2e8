import numpy as np
import pytest

from monitor.media import AudioChunk, FrameFaces, MediaInfo, Window
from monitor.windows import Windows

BOTH = MediaInfo(has_audio=True, has_video=True, sync_source="container")


def marks(samples: np.ndarray) -> np.ndarray:
    return np.ones(len(samples) // 320, np.bool_)


def sound(start_s: float, end_s: float, step_s: float = 0.1) -> list[AudioChunk]:
    count = round((end_s - start_s) / step_s)
    return [AudioChunk(start_s + i * step_s, np.full(round(step_s * 16000), i + 1, np.float32)) for i in range(count)]


def pictures(start_s: float, end_s: float, rate_hz: float = 25.0) -> list[FrameFaces]:
    return [FrameFaces(start_s + i / rate_hz) for i in range(round((end_s - start_s) * rate_hz))]


def cut(items: list, info: MediaInfo = BOTH, patience_s: float = 1.0, flush: bool = True) -> list[Window]:
    windows = Windows(marks, patience_s)
    windows.add(info)
    done = [window for item in sorted(items, key=lambda item: item.time_s) for window in windows.add(item)]
    return done + (windows.flush() if flush else [])


def spans(windows: list[Window]) -> list[tuple[float, float, float]]:
    return [(round(w.start_s, 2), round(w.fresh_from_s, 2), round(w.end_s, 2)) for w in windows]


def test_windows_overlap_and_their_fresh_parts_tile_the_call() -> None:
    windows = cut(sound(0, 6) + pictures(0, 6))
    assert spans(windows) == [(0.0, 0.0, 2.4), (1.2, 2.4, 3.6), (2.4, 3.6, 4.8), (3.6, 4.8, 6.0)]
    assert all(len(w.samples) == 38400 and len(w.frames) == 60 and len(w.speech) == 120 for w in windows)


@pytest.mark.parametrize(
    ("length_s", "expected"), [(1.2, [(0.0, 0.0, 1.2)]), (3.0, [(0.0, 0.0, 2.4), (0.6, 2.4, 3.0)]), (0.2, [(0.0, 0.0, 0.2)])]
)
def test_short_media_and_rests(length_s: float, expected: list) -> None:
    assert spans(cut(sound(0, length_s))) == expected


@pytest.mark.parametrize("origin_s", [0.0, 0.013, 7.77, 1e5 / 3])
def test_each_window_has_one_part_in_its_fresh_seconds_and_the_first_has_two(origin_s: float) -> None:
    """So a face that is cut out once in a part is judged once for each window, wherever pictures lie beside the edges."""
    windows = Windows(marks, 1.0)
    assert windows.part_from(origin_s) == origin_s, "before anything came"
    windows.add(MediaInfo(has_audio=False, has_video=True, sync_source="container"))
    parts: dict[float, float] = {}
    done: list[Window] = []
    for frame in pictures(origin_s, origin_s + 60):
        done += windows.add(frame)
        parts[frame.time_s] = windows.part_from(frame.time_s)
        assert 0 <= frame.time_s - parts[frame.time_s] < 1.2 + 1e-6
    met = [{parts[frame.time_s] for frame in window.frames if frame.time_s >= window.fresh_from_s} for window in done]
    assert [len(each) for each in met] == [2] + [1] * (len(done) - 1)
    assert len(done) >= 48


def test_parts_begin_anew_after_a_gap() -> None:
    windows = Windows(marks, 1.0)
    windows.add(MediaInfo(has_audio=False, has_video=True, sync_source="container"))
    for frame in pictures(0, 5) + pictures(100, 103):
        windows.add(frame)
    assert windows.part_from(101.5) == pytest.approx(101.2)
    assert windows.part_from(1e18) == 1e18, "nonsense is no part of anything"


def test_a_modality_that_is_declared_but_silent_is_missing_after_patience() -> None:
    windows = cut(pictures(0, 8), patience_s=1.0, flush=False)
    assert windows[0].samples is None
    assert spans(windows)[-1][2] == pytest.approx(6.0), "the last one waits until pictures ran 1 s past it"


def test_a_late_start_of_one_track_keeps_its_place_on_the_clock() -> None:
    (first, *_) = cut(sound(0, 5) + pictures(0.7, 5))
    assert first.frames[0].time_s == pytest.approx(0.7)
    assert first.start_s == 0.0


def test_a_loss_in_the_sound_is_zeros_at_its_place() -> None:
    windows = cut(sound(0, 1) + sound(1.5, 4) + pictures(0, 4))
    assert np.all(windows[0].samples[16000:24000] == 0)
    assert windows[0].samples[24001] == 1


def test_a_long_pause_of_everything_makes_no_empty_windows() -> None:
    windows = cut(sound(0, 3) + pictures(0, 3) + sound(1000, 1003) + pictures(1000, 1003))
    assert len(windows) < 8
    assert spans(windows)[-1][2] == pytest.approx(1003.0, abs=0.1)


def test_uneven_frame_times_fall_into_the_window_of_their_time() -> None:
    times = np.sort(np.random.default_rng(3).uniform(0, 5, 70))
    windows = cut(sound(0, 5) + [FrameFaces(float(t)) for t in times])
    for window in windows:
        assert [f.time_s for f in window.frames] == [t for t in times if window.start_s <= t < window.end_s]


def test_waiting_memory_is_bounded() -> None:
    windows = Windows(marks, 1.0)
    windows.add(BOTH)
    for item in pictures(0, 200):
        windows.add(item)
    assert len(windows._frames) < 150


def test_a_window_that_holds_media_placed_by_arrival_is_not_synchronous() -> None:
    windows = Windows(marks, 1.0)
    windows.add(MediaInfo(True, True, "arrival"))
    done = []
    for item in sorted(sound(0, 9) + pictures(0, 9), key=lambda item: item.time_s):
        if item.time_s == pytest.approx(2.0, abs=0.001) and isinstance(item, AudioChunk):
            windows.add(MediaInfo(True, True, "sender_report"))
        done += windows.add(item)
    assert [(round(w.start_s, 1), w.info.sync_source) for w in done[:3]] == [(0, "arrival"), (1.2, "arrival"), (2.4, "sender_report")]


def test_a_single_picture_is_a_window() -> None:
    (window,) = cut([FrameFaces(0.0)])
    assert spans([window]) == [(0.0, 0.0, 0.04)]
    assert len(window.frames) == 1
    assert window.samples is None


def test_the_last_picture_is_in_the_last_window() -> None:
    assert cut(pictures(0, 3.0))[-1].frames[-1].time_s == pytest.approx(2.96)


def test_the_last_window_knows_it() -> None:
    cutter = Windows(lambda samples: np.zeros(len(samples) // 320, np.bool_), 1.0)
    cutter.add(MediaInfo(has_audio=True, has_video=False, sync_source="container"))
    found = cutter.add(AudioChunk(0.0, np.zeros(88_000, np.float32)))
    assert not any(window.last for window in found)
    assert [window.last for window in cutter.flush()] == [True]

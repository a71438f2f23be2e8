"""Faces of a stream, without any network: a detector that knows where the synthetic faces are."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np
import pytest

from monitor.faces.crop import FACE_POINTS, MOUTH_POINTS, face_crop, mouth_crop, similarity
from monitor.faces.detect import FaceDetector, boxed, decode
from monitor.faces.quality import refusal, sharpness
from monitor.faces.track import Tracker
from monitor.faces.watch import FaceWatcher, scene_cut, thumbnail
from monitor.media import Detection, FrameFaces, Luma, Pixels, VideoFrame

PATTERN = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
GRAIN = np.random.default_rng(3).integers(0, 255, (360, 640, 3)).astype(np.uint8)
GRAY = GRAIN[:, :, 1]
STAMP_PX = 8  # the picture's corner says which picture it is


def face(x: float, y: float, side: float, confidence: float = 0.9) -> Detection:
    return Detection((x, y, x + side, y + side), (PATTERN * side + [x, y]).astype(np.float32), confidence)


def mid(detection: Detection) -> tuple[float, float]:
    x0, y0, x1, y1 = detection.box_xyxy
    return (x0 + x1) / 2, (y0 + y1) / 2


class Stage:
    """Frames whose faces are a function of time; `detect` reads the time off the picture."""

    def __init__(self, faces_at: Callable[[float], list[Detection]], height: int = 360, width: int = 640) -> None:
        self.faces_at, self.height, self.width = faces_at, height, width
        self.looked: list[float] = []

    def frame(self, time_s: float, concealed: bool = False, background: np.ndarray = GRAIN) -> VideoFrame:
        rgb = background[: self.height, : self.width].copy()
        rgb[0, :STAMP_PX, 0] = np.frombuffer(np.float64(time_s).tobytes(), np.uint8)
        return VideoFrame(time_s, Pixels(rgb), concealed)

    def detect(self, rgb: np.ndarray, known: Sequence[Detection] = ()) -> list[Detection]:
        time_s = float(np.frombuffer(rgb[0, :STAMP_PX, 0].tobytes(), np.float64)[0])
        self.looked.append(time_s)
        return self.faces_at(time_s)


def watch(watcher: FaceWatcher, frames: Iterable[VideoFrame]) -> list[FrameFaces]:
    return [done for frame in frames for done in watcher.add(frame)] + watcher.flush()


def times(rate_hz: float, seconds: float) -> list[float]:
    return [i / rate_hz for i in range(int(rate_hz * seconds))]


def test_frames_between_two_detections_move_in_a_straight_line() -> None:
    stage = Stage(lambda t: [face(100 + 200 * t, 80, 100)])
    done = watch(FaceWatcher(stage.detect), [stage.frame(t) for t in times(25, 2)])
    assert [frame.time_s for frame in done] == times(25, 2)
    assert len(stage.looked) == pytest.approx(10, abs=2)
    for frame in done:
        (view,) = frame.faces
        x0, _, x1, _ = view.box_xyxy
        assert x0 * 640 == pytest.approx(100 + 200 * frame.time_s, abs=0.01)
        assert x1 * 640 == pytest.approx(200 + 200 * frame.time_s, abs=0.01)
        assert view.track_id == 0
        assert view.mouth_gray is not None
        assert view.mouth_gray.shape == (64, 64)
        assert view.face_rgb is None or frame.time_s in stage.looked


@pytest.mark.parametrize(("rate_hz", "has_earlier"), [(25, True), (12, True), (5, False)])
def test_a_face_cut_out_comes_with_the_same_place_of_the_frame_before(rate_hz: float, has_earlier: bool) -> None:
    stage = Stage(lambda t: [face(100 + 100 * t, 80, 120)])
    frames = [stage.frame(t, background=GRAIN // 2 + np.uint8(index)) for index, t in enumerate(times(rate_hz, 2))]
    cut = [(i, frame.faces[0]) for i, frame in enumerate(watch(FaceWatcher(stage.detect), frames)) if frame.faces[0].face_rgb is not None]
    assert len(cut) >= 3
    for index, view in cut:
        assert (view.earlier_rgb is not None) == has_earlier
        if view.earlier_rgb is not None:
            landmarks = face(100 + 100 * frames[index].time_s, 80, 120).landmarks_xy
            assert np.array_equal(view.earlier_rgb, face_crop(frames[index - 1].rgb, landmarks))


@pytest.mark.parametrize("rate_hz", [12, 25, 30])
@pytest.mark.parametrize(("way_px", "looks_hz"), [(0, 2.5), (80, 5)])
def test_what_a_second_of_a_call_costs(way_px: float, looks_hz: float, rate_hz: float) -> None:
    """Pictures searched and faces cut out are what costs: this many and no more, whatever the frame rate."""
    stage = Stage(lambda t: [face(100 + way_px * np.sin(3 * t), 80, 100), face(400, 80, 90)])
    done = watch(FaceWatcher(stage.detect, part_from=lambda t: t // 1.5 * 1.5), [stage.frame(t) for t in times(rate_hz, 12)])
    assert len(stage.looked) / 12 <= looks_hz * 1.1 + 0.3
    for track_id in (0, 1):
        cut = [frame.time_s for frame in done for view in frame.faces if view.track_id == track_id and view.face_rgb is not None]
        assert [time_s // 1.5 for time_s in cut] == list(range(8)), "once in each part, none of them forgotten"
        assert max(time_s % 1.5 for time_s in cut) <= 0.45, "at its first look, or the second where the first had no picture before it"


def test_a_face_that_cannot_be_judged_at_first_is_cut_out_later_in_the_same_part() -> None:
    stage = Stage(lambda t: [face(100, 80, 100 if t >= 0.7 else 40)])
    done = watch(FaceWatcher(stage.detect, part_from=lambda t: 0.0), [stage.frame(t) for t in times(25, 2)])
    (cut,) = [frame.time_s for frame in done for view in frame.faces if view.face_rgb is not None]
    assert 0.7 <= cut <= 1.2


def test_all_faces_are_searched_for_every_other_second_and_known_ones_looked_at_between() -> None:
    asked: list[tuple[float, int]] = []
    stage = Stage(lambda t: [] if 4.1 < t < 4.9 else [face(100 + 100 * t, 80, 100), face(20, 80, 90)])

    def detect(rgb: np.ndarray, known: Sequence[Detection] = ()) -> list[Detection]:
        found = stage.detect(rgb)
        asked.append((stage.looked[-1], len(known)))
        return found

    watch(FaceWatcher(detect), [stage.frame(t) for t in times(25, 8)])
    searched = [time_s for time_s, known in asked if known == 0]
    assert {known for _, known in asked} == {0, 2}
    assert searched[:3] == pytest.approx([0.0, 2.2, 4.4], abs=0.2)
    assert len([time_s for time_s in searched if 4.1 < time_s < 5.2]) >= 3, "while nobody is there, everything is searched"
    assert len([time_s for time_s in searched if time_s > 5.2]) == 1


def test_the_seconds_of_every_window_hold_a_face_cut_out() -> None:
    stage = Stage(lambda t: [face(100, 80, 100)])
    done = watch(FaceWatcher(stage.detect), [stage.frame(t) for t in times(25, 5)])
    cut = np.array([frame.time_s for frame in done if frame.faces[0].face_rgb is not None])
    for from_s, to_s in ((0, 2.4), (2.4, 3.6), (3.6, 4.6), (4.6, 5)):
        assert ((cut >= from_s) & (cut < to_s)).any()


def test_a_still_face_is_looked_at_again_when_the_picture_changes() -> None:
    stage = Stage(lambda t: [face(100, 80, 100)])
    watch(FaceWatcher(stage.detect), [stage.frame(t, background=GRAIN // 4 + np.uint8(30 if t >= 2.1 else 0)) for t in times(25, 4)])
    (early,) = [after for before, after in pairwise(stage.looked) if after - before < 0.3 and 1 < after < 3.9]
    assert 2.1 <= early <= 2.3


def test_black_bars_do_not_hide_that_the_picture_changed() -> None:
    """Two thirds of an upright picture's frame stay black, and the change of the rest is no smaller for it."""
    stage = Stage(lambda t: [face(270, 80, 100)])
    room = np.where(np.abs(np.arange(640) - 320)[None, :, None] < 100, GRAIN // 4 + 30, 2).astype(np.uint8)
    lit = np.where(room > 2, room + np.uint8(15), room)
    watch(FaceWatcher(stage.detect), [stage.frame(t, background=lit if t >= 2.1 else room) for t in times(25, 4)])
    (early,) = [after for before, after in pairwise(stage.looked) if after - before < 0.3 and 1 < after < 3.9]
    assert 2.1 <= early <= 2.3


def test_nothing_waits_longer_than_one_detection_interval() -> None:
    stage = Stage(lambda t: [face(100, 80, 100)])
    watcher = FaceWatcher(stage.detect, detect_hz=5)
    waiting: list[float] = []
    for time_s in times(30, 3):
        waiting.append(time_s)
        for done in watcher.add(stage.frame(time_s)):
            assert done.time_s == waiting.pop(0)
        assert not waiting or time_s - waiting[0] <= 0.4


def test_a_face_is_reported_from_its_first_to_its_last_detection() -> None:
    stage = Stage(lambda t: [face(100, 80, 100)] if 1.0 <= t <= 2.0 else [])
    done = watch(FaceWatcher(stage.detect), [stage.frame(t) for t in times(25, 3)])
    seen = [frame.time_s for frame in done if frame.faces]
    looked = [t for t in stage.looked if 1.0 <= t <= 2.0]
    assert (seen[0], seen[-1]) == (looked[0], looked[-1])
    assert len(done) == 75


def test_several_faces_keep_their_ids_and_the_largest_come_first() -> None:
    stage = Stage(lambda t: [face(60 * i, 40 + 20 * np.sin(t + i), 50 + 2 * i) for i in range(8)])
    done = watch(FaceWatcher(stage.detect), [stage.frame(t) for t in times(25, 3)])
    for frame in done:
        assert len(frame.faces) == 6
        widths = [view.box_xyxy[2] - view.box_xyxy[0] for view in frame.faces]
        assert widths == sorted(widths, reverse=True)
        for view in frame.faces:
            assert view.box_xyxy[0] * 640 == pytest.approx(60 * (7 - view.track_id), abs=0.1)


def test_two_people_who_cross_do_not_swap() -> None:
    stage = Stage(lambda t: [face(50 + 100 * t, 80, 60), face(450 - 100 * t, 95, 66)])
    done = watch(FaceWatcher(stage.detect), [stage.frame(t) for t in times(25, 4)])
    for frame in done:
        for view in frame.faces:
            expected = 450 - 100 * frame.time_s if view.track_id == 0 else 50 + 100 * frame.time_s
            assert view.box_xyxy[0] * 640 == pytest.approx(max(expected, 0), abs=0.1)


def test_a_person_hidden_while_crossing_comes_back_as_the_same() -> None:
    tracker = Tracker()
    for time_s in times(5, 4):
        left, right = face(50 + 100 * time_s, 80, 60), face(450 - 100 * time_s, 80, 60)
        hidden = abs(left.box_xyxy[0] - right.box_xyxy[0]) < 70
        numbered = tracker.update(time_s, [left] if hidden else [right, left])
        assert {track_id: mid(d) for track_id, d in numbered} == ({1: mid(left)} if hidden else {0: mid(right), 1: mid(left)})


def test_a_track_survives_a_second_of_misses_but_not_two() -> None:
    tracker = Tracker()
    assert tracker.update(0.0, [face(100, 80, 60)])[0][0] == 0
    assert tracker.update(0.2, []) == []
    assert tracker.update(0.9, [face(110, 80, 60)])[0][0] == 0
    assert tracker.update(2.9, [face(110, 80, 60)])[0][0] == 1


def test_somebody_elsewhere_or_of_another_size_is_somebody_new() -> None:
    tracker = Tracker()
    tracker.update(0.0, [face(100, 80, 60)])
    assert tracker.update(0.2, [face(400, 80, 60)])[0][0] == 1
    assert tracker.update(0.4, [face(330, 10, 220)])[0][0] == 2


def test_a_scene_cut_starts_new_ids_in_the_same_place_and_nothing_moves_across_it() -> None:
    stage = Stage(lambda t: [face(100 if t < 1.0 else 130, 80, 100)])
    night = np.ascontiguousarray(np.roll(GRAIN, 37, axis=1)[:, ::-1] // 4)
    frames = [stage.frame(t, background=GRAIN if t < 1.0 else night) for t in times(25, 2)]
    done = watch(FaceWatcher(stage.detect), frames)
    assert [frame.time_s for frame in done] == times(25, 2)
    for frame in done:
        (view,) = frame.faces
        assert view.track_id == (0 if frame.time_s < 1.0 else 1)
        assert view.box_xyxy[0] * 640 == pytest.approx(100 if frame.time_s < 1.0 else 130)


def test_a_flash_is_no_scene_cut() -> None:
    soft = np.linspace(0, 160, 640) * np.ones((360, 1))
    usual, flash, mirrored = (thumbnail(Luma(each.astype(np.uint8))) for each in (soft, soft + 60, soft[:, ::-1]))
    assert not scene_cut(usual, flash)
    assert scene_cut(usual, mirrored)


@pytest.mark.parametrize("shade", [2, 40])
def test_dark_bars_do_not_hide_a_scene_cut_and_make_none(shade: int) -> None:
    """An upright phone in a wide picture, or in a conferencing window: two thirds of it are the same before and after."""
    rng = np.random.default_rng(4)

    def between_bars(picture: np.ndarray) -> np.ndarray:
        wide = rng.integers(shade - 2, shade + 3, (360, 640)).astype(np.uint8)
        wide[:, 220:420] = picture
        return thumbnail(Luma(wide))

    rooms = [cv2.resize(rng.integers(30, 220, (9, 5)).astype(np.uint8), (200, 360)) for _ in range(2)]
    assert scene_cut(between_bars(rooms[0]), between_bars(rooms[1]))
    assert not scene_cut(between_bars(rooms[0]), between_bars(np.roll(rooms[0], 6, axis=1)))
    assert not scene_cut(between_bars(rooms[0]), between_bars(rooms[0] // 2))
    lamps = np.zeros((2, 18, 32), np.uint8)
    lamps[0, 8:11, 3:6], lamps[1, 8:11, 24:27] = 200, 200
    assert not scene_cut(*lamps), "a lamp in the dark is not a picture between bars"


@pytest.mark.parametrize("steps_s", [[0.01, 0.3, 0.04, 0.04, 0.09], [0.5], [1.7, 0.02], [0.033, 0.034, 0.02, 0.05]])
def test_unsteady_frame_times_lose_no_frame_and_keep_the_straight_line(steps_s: list[float]) -> None:
    stage = Stage(lambda t: [face(100 + 30 * t, 80, 100)])
    stamps = list(np.cumsum([steps_s[i % len(steps_s)] for i in range(40)]).clip(max=15.0)[:40])
    stamps = sorted(set(stamps))
    done = watch(FaceWatcher(stage.detect), [stage.frame(t) for t in stamps])
    assert [frame.time_s for frame in done] == stamps
    for frame in done:
        for view in frame.faces:
            assert view.box_xyxy[0] * 640 == pytest.approx(100 + 30 * frame.time_s, abs=0.01)


@pytest.mark.parametrize(("rate_hz", "kept_hz"), [(24, 24), (25, 25), (30, 30), (50, 25), (60, 30), (120, 30)])
def test_faster_streams_are_thinned_evenly(rate_hz: float, kept_hz: float) -> None:
    stage = Stage(lambda t: [face(100, 80, 100)])
    done = watch(FaceWatcher(stage.detect), [stage.frame(t) for t in times(rate_hz, 4)])
    assert len(done) / 4 == pytest.approx(kept_hz, rel=0.05)
    gaps = np.diff([frame.time_s for frame in done][3:])
    assert gaps.max() < 1.6 / kept_hz


def test_a_jittery_thirty_a_second_is_not_thinned() -> None:
    stage = Stage(lambda t: [face(100, 80, 100)])
    jitter = np.random.default_rng(1).uniform(-0.008, 0.008, 120)
    done = watch(FaceWatcher(stage.detect), [stage.frame(float(t + j + 1)) for t, j in zip(times(30, 4), jitter, strict=True)])
    assert len(done) >= 115


def test_a_change_of_resolution_keeps_the_person() -> None:
    large = Stage(lambda t: [face(200, 100, 120)])
    small = Stage(lambda t: [face(100, 50, 60)], height=180, width=320)
    frames = [(large if t < 1.0 else small).frame(t) for t in times(25, 2)]

    def detect(rgb: np.ndarray, known: Sequence[Detection] = ()) -> list[Detection]:
        return (large if rgb.shape[0] == 360 else small).detect(rgb)

    soft = np.ascontiguousarray(np.broadcast_to(np.linspace(0, 200, 640)[None, :, None], (360, 640, 3)).astype(np.uint8))
    frames = [large.frame(t, background=soft) if t < 1.0 else small.frame(t, background=soft[::2, ::2]) for t in times(25, 2)]
    done = watch(FaceWatcher(detect, min_sharpness=0), frames)
    assert [frame.time_s for frame in done] == times(25, 2)
    assert {view.track_id for frame in done for view in frame.faces} == {0}
    assert all(view.box_xyxy == pytest.approx((200 / 640, 100 / 360, 0.5, 220 / 360)) for frame in done for view in frame.faces)


def test_concealed_frames_are_neither_looked_at_nor_cut_out() -> None:
    stage = Stage(lambda t: [face(100 + 100 * t, 80, 100)])
    hidden = {0.2, 0.24, 0.48, 0.52, 1.96}
    done = watch(FaceWatcher(stage.detect), [stage.frame(t, concealed=t in hidden) for t in times(25, 2)])
    assert [frame.time_s for frame in done] == times(25, 2)
    assert not hidden & set(stage.looked)
    for frame in done:
        (view,) = frame.faces
        assert (view.mouth_gray is None) == (frame.time_s in hidden)
        assert view.reason is None
        assert frame.time_s == 1.96 or view.box_xyxy[0] * 640 == pytest.approx(100 + 100 * frame.time_s, abs=0.01)


def test_a_long_freeze_is_reported_and_held_in_little_memory() -> None:
    stage = Stage(lambda t: [face(100, 80, 100)])
    watcher = FaceWatcher(stage.detect)
    done = [d for t in times(25, 10) for d in watcher.add(stage.frame(t, concealed=t > 1))]
    assert len(done) >= 240
    assert max(stage.looked) <= 1


@pytest.mark.parametrize("hidden", [set(), set(range(23, 41)), {5, 10, 15}])
def test_frames_held_back_until_the_next_look_come_out_the_same(hidden: set[int]) -> None:
    stage = Stage(lambda t: [face(100 + (100 * t if t > 2 else 0), 80, 100)])
    night = np.ascontiguousarray(np.roll(GRAIN, 37, axis=1)[:, ::-1] // 4)
    frames = [stage.frame(t, n in hidden, GRAIN if t < 3.1 else night) for n, t in enumerate(times(25, 4))]
    watcher, held, done = FaceWatcher(stage.detect), [], []
    for frame in frames:
        held.append(frame)
        if frame.time_s >= watcher.next_look_s:
            done += watcher.add_all(held)
            held = []
    done += watcher.add_all(held) + watcher.flush()
    at_once = watch(FaceWatcher(stage.detect), frames)
    assert [frame.time_s for frame in done] == times(25, 4)
    for one, other in zip(done, at_once, strict=True):
        for a, b in zip(one.faces, other.faces, strict=True):
            assert (a.track_id, a.box_xyxy, a.face_rgb is None) == (b.track_id, b.box_xyxy, b.face_rgb is None)


def test_frames_that_go_back_in_time_are_ignored() -> None:
    stage = Stage(lambda t: [face(100, 80, 100)])
    done = watch(FaceWatcher(stage.detect), [stage.frame(t) for t in (1.0, 1.04, 0.5, 1.04, 1.08)])
    assert [frame.time_s for frame in done] == [1.0, 1.04, 1.08]


def test_reasons_of_the_quality_gate() -> None:
    soft = np.ascontiguousarray(np.broadcast_to(np.linspace(0, 255, 640), (360, 640)).astype(np.uint8))
    assert refusal(Luma(GRAY), face(100, 80, 47)) == "face_too_small"
    assert refusal(Luma(GRAY), face(100, 80, 49)) is None
    assert refusal(Luma(soft), face(100, 80, 100)) == "face_blurred"
    assert refusal(Luma(soft), face(100, 80, 100), min_sharpness=0.0) is None
    assert sharpness(GRAY, face(100, 80, 200)) == pytest.approx(sharpness(GRAY // 2, face(100, 80, 200)), rel=0.1)
    assert refusal(Luma(GRAY), face(700, 500, 100)) == "face_blurred"


def test_a_refused_face_is_reported_with_its_reason_and_without_crops() -> None:
    stage = Stage(lambda t: [face(100, 80, 40), face(200, 80, 100)])
    done = watch(FaceWatcher(stage.detect), [stage.frame(t) for t in times(25, 1)])
    reasons = Counter(
        (view.track_id, view.reason, view.mouth_gray is None, view.face_rgb is None) for frame in done for view in frame.faces
    )
    assert set(reasons) == {(1, "face_too_small", True, True), (0, None, False, False), (0, None, False, True)}


def test_a_face_that_is_small_at_one_end_of_an_interval_is_refused_inside_it() -> None:
    stage = Stage(lambda t: [face(100, 80, 40 if t < 0.5 else 60)])
    done = watch(FaceWatcher(stage.detect), [stage.frame(t) for t in times(25, 1)])
    turned = min(t for t in stage.looked if t >= 0.5)
    assert all((view.reason is None) == (frame.time_s >= turned) for frame in done for view in frame.faces)


def one_cell(stride: int, row: int, column: int, size_hw: tuple[int, int], score: float = 0.81) -> dict[str, np.ndarray]:
    """YuNet's outputs with one sure cell: a box of 4 × 5 strides around the cell's centre."""
    outputs: dict[str, np.ndarray] = {}
    for s in (8, 16, 32):
        cells = (size_hw[0] // s) * (size_hw[1] // s)
        outputs |= {f"cls_{s}": np.zeros((1, cells, 1)), f"obj_{s}": np.full((1, cells, 1), 1.2), f"bbox_{s}": np.zeros((1, cells, 4))}
        outputs[f"kps_{s}"] = np.zeros((1, cells, 10))
    cell = row * (size_hw[1] // stride) + column
    outputs[f"cls_{stride}"][0, cell] = score**2
    outputs[f"bbox_{stride}"][0, cell] = [0.5, 0.5, np.log(4), np.log(5)]
    outputs[f"kps_{stride}"][0, cell] = [-0.5, -0.5, 1.5, -0.5, 0.5, 0.5, -0.3, 1.5, 1.3, 1.5]
    return {name: value.astype(np.float32) for name, value in outputs.items()}


def test_decoding_of_one_cell() -> None:
    confidence, boxes, landmarks = decode(one_cell(16, 3, 7, (192, 320)), (192, 320), 0.6)
    assert confidence == pytest.approx([0.81])
    assert boxes[0] == pytest.approx([7.5 * 16 - 32, 3.5 * 16 - 40, 7.5 * 16 + 32, 3.5 * 16 + 40])
    assert landmarks[0, 0] == pytest.approx([6.5 * 16, 2.5 * 16])
    assert landmarks[0, 1] == pytest.approx([8.5 * 16, 2.5 * 16])


def test_the_detector_gives_pixels_of_the_picture_it_was_given() -> None:
    shapes = []

    def run(picture: np.ndarray) -> dict[str, np.ndarray]:
        shapes.append(picture.shape)
        return one_cell(32, 1, 2, picture.shape[2:])

    (found,) = FaceDetector(run)._look(np.zeros((720, 1280, 3), np.uint8), 0.25)
    assert shapes == [(1, 3, 192, 320)]
    assert found.box_xyxy == pytest.approx((4 * 16, 4 * -32, 4 * 144, 4 * 128))


def test_where_nothing_is_found_half_the_size_is_tried() -> None:
    shapes = []

    def run(picture: np.ndarray) -> dict[str, np.ndarray]:
        shapes.append(picture.shape[2:])
        return one_cell(32, 1, 1, picture.shape[2:], score=0.9 if len(shapes) == 2 else 0.3)

    (found,) = FaceDetector(run)(np.zeros((224, 224, 3), np.uint8))
    assert shapes[:2] == [(224, 224), (128, 128)]
    assert found.box_xyxy[2] == pytest.approx(2 * (48 + 64))


def bright_square(shapes: list[tuple[int, ...]]) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A net whose one face is the bright square of the picture; remembers how large the pictures were."""

    def run(picture: np.ndarray) -> dict[str, np.ndarray]:
        shapes.append(picture.shape[2:])
        rows, columns = np.nonzero(picture[0, 0] > 128)
        size_hw = picture.shape[2:]
        outputs = one_cell(8, 0, 0, size_hw, score=0.0)
        if len(rows):
            y, x, side = rows.mean() + 0.5, columns.mean() + 0.5, np.ptp(rows) + 1.0
            row, column = int(y // 8), int(x // 8)
            cell = row * (size_hw[1] // 8) + column
            outputs["cls_8"][0, cell] = outputs["obj_8"][0, cell] = 0.9
            outputs["bbox_8"][0, cell] = [x / 8 - column, y / 8 - row, np.log(side / 8), np.log(side / 8)]
        return outputs

    return run


def test_known_faces_are_looked_at_closely_and_searched_for_when_gone() -> None:
    shapes: list[tuple[int, ...]] = []
    detect = FaceDetector(bright_square(shapes))
    picture = np.zeros((720, 1280, 3), np.uint8)
    picture[200:300, 400:500] = 255
    (first,) = detect(picture)
    assert shapes == [(192, 320), (128, 128)]
    assert first.box_xyxy == pytest.approx((400, 200, 500, 300), abs=4)
    shapes.clear()
    moved = np.roll(picture, 20, axis=1)
    (second,) = detect(moved, known=[first])
    assert shapes == [(128, 128)]
    assert second.box_xyxy == pytest.approx((420, 200, 520, 300), abs=4)
    for elsewhere in (np.roll(picture, 60, axis=1), np.roll(picture, 500, axis=1)):
        shapes.clear()
        (third,) = detect(elsewhere, known=[second])
        assert (192, 320) in shapes
        assert third.box_xyxy[0] == pytest.approx(np.nonzero(elsewhere[250, :, 0])[0][0], abs=4)
    assert detect(np.zeros_like(picture), known=[second]) == []


@pytest.mark.parametrize(("side", "asked"), [(40, (64, 64)), (70, (96, 128)), (80, (128, 160)), (170, (192, 256))])
def test_a_close_look_is_never_coarser_than_the_whole_one(side: int, asked: tuple[int, int]) -> None:
    shapes: list[tuple[int, ...]] = []
    picture = np.zeros((180, 256, 3), np.uint8)
    picture[5 : 5 + side, 40 : 40 + side] = 255
    detect = FaceDetector(bright_square(shapes))
    (first,) = detect(picture)
    assert detect(picture, known=[first])[0].box_xyxy == pytest.approx(first.box_xyxy, abs=1.5)
    assert shapes[-1] == asked


def test_what_is_found_in_the_whole_picture_is_looked_at_again_only_to_magnify_it() -> None:
    shapes: list[tuple[int, ...]] = []
    picture = np.zeros((720, 1280, 3), np.uint8)
    picture[200:500, 400:700] = 255
    FaceDetector(bright_square(shapes))(picture)
    assert shapes == [(192, 320)]
    picture[240:] = 0
    FaceDetector(bright_square(shapes))(picture)
    assert len(shapes) == 3
    assert shapes[1] == (192, 320)


@pytest.mark.parametrize("size_hw", [(720, 1280), (512, 512), (480, 854), (224, 224), (1000, 700)])
def test_a_close_look_is_cut_along_the_grid_of_the_whole_one(size_hw: tuple[int, int]) -> None:
    """What the net is shown is a part of the whole picture as it is shown that, from a multiple of its coarsest stride on."""
    grain = np.random.default_rng(7).integers(0, 256, (size_hw[0] // 8 + 1, size_hw[1] // 8 + 1, 3))
    picture = cv2.resize(grain.astype(np.uint8), size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    seen: list[np.ndarray] = []

    def run(part: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(part.copy())
        return one_cell(32, 0, 0, part.shape[2:], score=0.0)

    scale = 320 / max(size_hw) if max(size_hw) > 320 else 1.0
    known = face(260 / 640 * size_hw[1], 250 / 720 * size_hw[0], 75 / scale)
    FaceDetector(run)(picture, known=[known])  # type: ignore[arg-type]
    near, whole = seen[0], seen[1]
    assert near.size < 0.8 * whole.size
    places = [(y, x) for y in range(0, whole.shape[2], 32) for x in range(0, whole.shape[3], 32)]
    parts = [(near, whole[:, :, y : y + near.shape[2], x : x + near.shape[3]]) for y, x in places]
    apart = [float(np.abs(a - b).mean()) for a, b in parts if a.shape == b.shape]
    assert min(apart) < 0.25 * np.median(apart), "but for parts of a pixel"


def test_a_crowd_is_found_at_once() -> None:
    shapes: list[tuple[int, ...]] = []
    crowd = [face(100 * i, 80, 60) for i in range(4)]
    FaceDetector(bright_square(shapes))(np.zeros((360, 640, 3), np.uint8), known=crowd)
    assert shapes[0] == (192, 320)


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (720, 1), (97, 33), (2160, 3840)])
def test_pictures_of_odd_sizes_fit_the_network(shape: tuple[int, int]) -> None:
    picture = boxed(np.full((*shape, 3), 200, np.uint8), min(1.0, 320 / max(shape)))
    assert picture.shape[2] % 32 == picture.shape[3] % 32 == 0
    assert max(picture.shape) <= 320
    assert picture[0, 0, 0, 0] == 200


def test_the_net_gets_blue_first() -> None:
    picture = boxed(np.full((32, 32, 3), (10, 20, 30), np.uint8), 1.0)
    assert picture[0, :, 5, 5].tolist() == [30, 20, 10]


@pytest.mark.parametrize("side", [60, 110, 200, 330])
@pytest.mark.parametrize("angle", [0.0, 20.0])
def test_crops_of_any_size_sit_where_the_landmarks_say(side: int, angle: float) -> None:
    """On a ramp the crop must be the ramp at the mapped places, whether it was enlarged or shrunk."""
    ramp = np.ascontiguousarray(np.broadcast_to((np.arange(640) * 0.4)[None, :, None], (480, 640, 3)).round().astype(np.uint8))
    turn = np.array([[np.cos(np.radians(angle)), -np.sin(np.radians(angle))], [np.sin(np.radians(angle)), np.cos(np.radians(angle))]])
    landmarks = ((PATTERN - 0.5) @ turn.T * side + [320, 240]).astype(np.float32)
    crops = (face_crop(ramp, landmarks), FACE_POINTS), (mouth_crop(Pixels(ramp).luma, landmarks), MOUTH_POINTS)
    for crop, points in crops:
        size = len(crop)
        matrix = np.linalg.inv(similarity(landmarks, points * size))
        rows, columns = np.mgrid[8 : size - 8, 8 : size - 8]
        x = matrix[0, 0] * columns + matrix[0, 1] * rows + matrix[0, 2]
        inside = (x > 2) & (x < 637)
        got = crop[8:-8, 8:-8].reshape(size - 16, size - 16, -1)[:, :, 0]
        assert np.abs(got - 0.4 * x)[inside].max() < 1.2


def test_a_face_outside_the_picture_still_gives_a_crop() -> None:
    for place in (-900, 5000):
        assert face_crop(GRAIN, (PATTERN * 400 + place).astype(np.float32)).shape == (128, 128, 3)

"""The shipped detector, by ONNX Runtime alone, on the public-domain portrait of the demo call; and YuNet's own file in its place."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from export.onnx_files import open_onnx
from monitor.faces.crop import face_crop
from monitor.faces.detect import FaceDetector
from monitor.faces.watch import FaceWatcher
from monitor.inference.card import read_card
from monitor.media import Detection, Pixels, VideoFrame

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "exported_models" / "face_detector.onnx"
CALL = ROOT / "monitor" / "demo" / "call.mp4"
YUNET = Path(os.environ.get("DEEPFAKE_POOL") or ROOT.parent / "shared") / "weights" / "yunet_n_dynamic.onnx"


def load(path: Path) -> FaceDetector:
    session = open_onnx(path)
    names = [output.name for output in session.get_outputs()]

    def run(picture: np.ndarray) -> Mapping[str, np.ndarray]:
        return dict(zip(names, session.run(None, {"input": picture}), strict=True))

    return FaceDetector(run)


@pytest.fixture(scope="module")
def detect() -> FaceDetector:
    return load(MODEL)


@pytest.fixture(scope="module")
def call() -> list[VideoFrame]:
    with av.open(str(CALL)) as container:
        return [
            VideoFrame(float(frame.time or 0), Pixels(frame.to_ndarray(format="rgb24")))
            for _, frame in zip(range(75), container.decode(video=0), strict=False)
        ]


def portrait(call: list[VideoFrame], detect: FaceDetector) -> np.ndarray:
    """The demo's face with its surroundings, cut out."""
    (face,) = detect(call[0].rgb)
    x0, y0, x1, y1 = (round(value) for value in face.box_xyxy)
    side = x1 - x0
    return np.ascontiguousarray(call[0].rgb[max(0, y0 - side // 2) : y1 + side // 2, max(0, x0 - side // 2) : x1 + side // 2])


def check_landmarks(face: Detection) -> None:
    eyes_nose_mouth = face.landmarks_xy
    x0, y0, x1, y1 = face.box_xyxy
    assert eyes_nose_mouth[0, 0] < eyes_nose_mouth[2, 0] < eyes_nose_mouth[1, 0]
    assert eyes_nose_mouth[3, 0] < eyes_nose_mouth[4, 0]
    assert eyes_nose_mouth[:2, 1].max() < eyes_nose_mouth[2, 1] < eyes_nose_mouth[3:, 1].min()
    assert (eyes_nose_mouth >= [x0, y0]).all()
    assert (eyes_nose_mouth <= [x1, y1]).all()


def test_the_card_describes_the_file() -> None:
    card = read_card(MODEL)
    assert card.task == "face_detector"
    assert card.parity_max_abs <= 1e-4
    assert len(card.outputs) == 12
    assert {"recall_devset", "false_faces_per_1000_devset_frames", "ms_320x320_one_thread"} <= set(card.numbers)


def test_the_demo_call_shows_one_person_throughout(detect: FaceDetector, call: list[VideoFrame]) -> None:
    watcher = FaceWatcher(detect)
    done = [frame for picture in call for frame in watcher.add(picture)] + watcher.flush()
    assert [frame.time_s for frame in done] == [picture.time_s for picture in call]
    assert {tuple(view.track_id for view in frame.faces) for frame in done} == {(0,)}
    assert {view.reason for frame in done for view in frame.faces} == {None}
    for picture in call[::10]:
        check_landmarks(detect(picture.rgb)[0])


@pytest.mark.parametrize("side_px", [24, 40, 64, 100, 160])
def test_faces_of_many_sizes_are_found_where_they_are(detect: FaceDetector, call: list[VideoFrame], side_px: int) -> None:
    face = portrait(call, detect)
    small = cv2.resize(face, (2 * side_px, round(2 * side_px * face.shape[0] / face.shape[1])), interpolation=cv2.INTER_AREA)
    scene = np.full((360, 640, 3), 90, np.uint8)
    height, width = min(small.shape[0], 350), small.shape[1]
    scene[5 : 5 + height, 200 : 200 + width] = small[:height]
    scene = cv2.resize(scene, (320, 180), interpolation=cv2.INTER_AREA) if side_px >= 48 else scene[:180, 100:420]
    found = detect(np.ascontiguousarray(scene))
    assert len(found) == 1
    check_landmarks(found[0])


def test_a_gallery_of_people_is_seen_one_by_one(detect: FaceDetector, call: list[VideoFrame]) -> None:
    tile = cv2.resize(portrait(call, detect), (300, 300), interpolation=cv2.INTER_AREA)
    assert len(detect(np.tile(tile, (2, 3, 1)))) == 6


def test_a_face_that_fills_the_picture_is_found(detect: FaceDetector, call: list[VideoFrame]) -> None:
    (face,) = detect(call[0].rgb)
    filling = cv2.resize(face_crop(call[0].rgb, face.landmarks_xy)[14:118, 14:114], (640, 660))
    assert len(detect(np.ascontiguousarray(filling))) == 1


@pytest.mark.parametrize("kind", ["black", "white", "noise", "stripes", "dots"])
def test_there_is_no_face_where_there_is_none(detect: FaceDetector, kind: str) -> None:
    picture = np.full((360, 640, 3), {"black": 0, "white": 255}.get(kind, 120), np.uint8)
    if kind == "noise":
        picture = np.random.default_rng(1).integers(0, 256, picture.shape).astype(np.uint8)
    if kind == "stripes":
        picture[:, ::16] = 250
        picture[::24] = 20
    if kind == "dots":
        cv2.circle(picture, (300, 180), 120, (220, 170, 140), -1)
        cv2.circle(picture, (260, 150), 14, (20, 20, 20), -1)
        cv2.circle(picture, (340, 150), 14, (20, 20, 20), -1)
    assert detect(picture) == []


def test_odd_pictures_do_not_break_it(detect: FaceDetector) -> None:
    for shape in ((1, 1), (2, 900), (700, 3), (33, 31)):
        assert detect(np.zeros((*shape, 3), np.uint8)) == []


def test_it_is_quick(detect: FaceDetector) -> None:
    """Loose on purpose: the card has the real number, this catches a net ten times too large."""
    picture = np.random.default_rng(0).integers(0, 256, (320, 320, 3)).astype(np.uint8)
    times = []
    for _ in range(20):
        start = time.process_time()
        detect(picture)
        times.append(time.process_time() - start)
    assert min(times) < 0.025


@pytest.mark.pool
@pytest.mark.skipif(not YUNET.is_file(), reason="no ../shared/weights/yunet_n_dynamic.onnx (set DEEPFAKE_POOL)")
def test_yunet_takes_its_place(detect: FaceDetector, call: list[VideoFrame]) -> None:
    yunet = load(YUNET)
    for picture in call[::15]:
        (mine,), (theirs,) = detect(picture.rgb), yunet(picture.rgb)
        eyes_px = float(np.linalg.norm(theirs.landmarks_xy[0] - theirs.landmarks_xy[1]))
        assert np.linalg.norm(mine.landmarks_xy - theirs.landmarks_xy, axis=1).mean() < 0.1 * eyes_px
        assert mine.box_xyxy == pytest.approx(theirs.box_xyxy, abs=0.5 * eyes_px)

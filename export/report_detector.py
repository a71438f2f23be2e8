"""How well the detector agrees with its teacher on frames that neither it nor its scenes were made of; its export and its card."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from export.data.faceless import load_wallpapers, piece, rendering
from export.nets.detector import DetectorNet, ShippedDetector
from export.onnx_files import detector_run
from export.to_onnx import Port, export_model
from export.training import best_of
from monitor.faces.detect import STRIDES, FaceDetector, Run, overlap
from monitor.media import Detection

Image = NDArray[np.uint8]
TEACHER_CONFIDENCE = 0.6  # the teacher's faces that must be found; the same confidence is asked of ours
TEACHER_DOUBT = 0.3  # a face of ours is false when the teacher sees nothing there even at this confidence
MIN_SIDE_PX = 64.0
STRICTNESS = 0.5  # with it 0.6 means what 0.71 meant: on devset that leaves nothing false and loses no face
HELD_WALLPAPERS = (Path("/usr/share/desktop-base"),)  # apt-get install desktop-base; no scene was made of them


@dataclass(frozen=True, slots=True)
class Frames:
    """Pictures and what the teacher sees in them, down to a confidence of 0.3."""

    pictures: list[Image]
    teacher: list[list[Detection]]


@dataclass(frozen=True, slots=True)
class Agreement:
    frames: int
    faces: int
    found: int
    false_faces: int
    landmark_error: float
    """Mean distance of the five landmarks from the teacher's, as a share of the teacher's eye distance."""

    @property
    def recall(self) -> float:
        return self.found / max(self.faces, 1)


def devset_frames(pool: Path, teacher: Run, per_clip: int) -> Frames:
    """Frames spread evenly over each clip of `devset`."""
    clips = sorted((pool / "data" / "devset").glob("*.mp4"))
    return watched([frame for clip in clips for frame in _spread(clip, per_clip)], teacher)


def watched(pictures: list[Image], teacher: Run) -> Frames:
    detect = FaceDetector(teacher, min_confidence=TEACHER_DOUBT)
    return Frames(pictures, [detect(picture) for picture in pictures])


def _spread(clip: Path, count: int) -> Iterator[Image]:
    with av.open(str(clip)) as container:
        frames = list(container.decode(video=0)) if container.streams.video else []
    for index in np.unique(np.linspace(0, max(0, len(frames) - 1), count + 2)[1:-1].astype(int)) if frames else []:
        yield np.asarray(frames[int(index)].to_ndarray(format="rgb24"), np.uint8)


def faceless_frames(count: int, teacher: Run) -> Frames:
    """Half pieces of wallpapers that no scene was made of, half fresh renderings."""
    rng = np.random.default_rng(77)
    wallpapers = load_wallpapers(HELD_WALLPAPERS)
    pictures = [rendering(320, rng) for _ in range(count // 2 if wallpapers else count)]
    pictures += [piece(wallpapers[int(rng.integers(len(wallpapers)))], 320, rng) for _ in range(count - len(pictures))]
    return watched(pictures, teacher)


def agreement(run: Run, frames: Frames) -> Agreement:
    detect = FaceDetector(run)
    faces = found = false_faces = 0
    errors: list[float] = []
    for picture, known in zip(frames.pictures, frames.teacher, strict=True):
        mine = detect(picture)
        false_faces += sum(not any(_same(face, other) for other in known) for face in mine)
        for face in known:
            if face.confidence < TEACHER_CONFIDENCE or _side(face) < MIN_SIDE_PX:
                continue
            faces += 1
            twin = max(mine, key=lambda other, face=face: overlap(face.box_xyxy, other.box_xyxy), default=None)  # type: ignore[misc]
            if twin is not None and overlap(face.box_xyxy, twin.box_xyxy) > 0.5:
                found += 1
                eyes = float(np.linalg.norm(face.landmarks_xy[0] - face.landmarks_xy[1]))
                if eyes > 0.25 * _side(face):  # in profile the eyes' distance is no measure
                    errors.append(float(np.linalg.norm(face.landmarks_xy - twin.landmarks_xy, axis=1).mean()) / eyes)
    return Agreement(len(frames.pictures), faces, found, false_faces, float(np.mean(errors)) if errors else 1.0)


def milliseconds(run: Run, height: int, width: int) -> float:
    """The net alone on a picture of this size: the tenth percentile of 300 runs, for the machine may have other things to do."""
    picture = np.random.default_rng(0).uniform(0, 255, (1, 3, height, width)).astype(np.float32)
    times = []
    for _ in range(300):
        start = time.perf_counter()
        run(picture)
        times.append(time.perf_counter() - start)
    return float(np.percentile(times, 10)) * 1000


def measure(run: Run, teacher: Run, pool: Path) -> dict[str, Any]:
    """The numbers of the card."""
    devset = agreement(run, devset_frames(pool, teacher, per_clip=4))
    nothing = agreement(run, faceless_frames(2000, teacher))
    return {
        "recall_devset": round(devset.recall, 4),
        "teacher_faces": devset.faces,
        "landmark_error_share_of_eye_distance": round(devset.landmark_error, 4),
        "false_faces_per_1000_devset_frames": round(1000 * devset.false_faces / devset.frames, 2),
        "devset_frames": devset.frames,
        "false_faces_per_1000_faceless_pictures": round(1000 * nothing.false_faces / nothing.frames, 2),
        "faceless_pictures": nothing.frames,
        "ms_320x320_one_thread": round(milliseconds(run, 320, 320), 2),
        "ms_320x192_one_thread": round(milliseconds(run, 192, 320), 2),
        "teacher_ms_320x320_one_thread": round(milliseconds(teacher, 320, 320), 2),
        "how": "faces of at least 64 px that YuNet finds with confidence 0.6 count as found when ours, at 0.6 too, overlaps by "
        "more than half; a false face is one of ours where YuNet sees none even at 0.3",
    }


def print_report(run: Run, teacher: Run, pool: Path) -> None:
    for name, value in measure(run, teacher, pool).items():
        print(f"{name:42} {value}")


def export_best(checkpoint: Path, teacher: Run, pool: Path, folder: Path) -> None:
    net = DetectorNet()
    record = best_of(checkpoint, net)
    shipped = ShippedDetector(net, STRICTNESS).eval()
    rng = np.random.default_rng(3)
    examples = [(rng.uniform(0, 255, shape).astype(np.float32),) for shape in ((2, 3, 320, 320), (1, 3, 192, 320), (3, 3, 128, 96))]
    about = {
        "version": "1",
        "trained_on": "scenes composed of face crops from the research pool (wild, talk, avspeech, faces, stills) on Debian wallpapers "
        "and our own renderings, with ever new faceless pictures that fooled the net; the targets are what YuNet "
        "(ShiqiYu/libfacedetection.train, Apache-2.0) says of them. devset chose the best state and "
        "the shift of the score that makes 0.6 the right confidence.",
        "made_with": f"python -m export.train_detector; {record['spent_s'] / 60:.0f} minutes on one shared CPU thread in bfloat16, "
        f"best state after {record['best_s'] / 60:.0f}",
        "numbers": {"not": "measured yet"},
        "limits": "It imitates YuNet, its misses too. Faces below about 12 px (at a long side of 320 px), turned by more than about 40° or "
        "mostly hidden are missed. The people it learned from are those of the pool, most of them frontal.",
        "licence": "weights Apache-2.0, as the teacher's; the pool's pictures are research material and not part of them",
    }
    export_model(shipped, "face_detector", _INPUTS, _outputs(), examples, about, folder)
    numbers = measure(detector_run(folder / "face_detector.onnx"), teacher, pool)
    card = export_model(shipped, "face_detector", _INPUTS, _outputs(), examples, about | {"numbers": numbers}, folder)
    print(card.model_dump_json(indent=1))


_INPUTS = [Port("input", ("batch", 3, "height", "width"), "picture in BGR, 0..255, height and width multiples of 32, long side about 320")]


def _outputs() -> list[Port]:
    kinds: Iterable[tuple[str, int, str]] = (
        ("cls", 1, "score of each cell, 0..1"),
        ("obj", 1, "the same score, so that √(cls · obj) is it too, as with YuNet"),
        ("bbox", 4, "centre from the cell's corner, log of width and height, in strides"),
        ("kps", 10, "eyes, nose, mouth corners (x, y) from the cell's corner, in strides; left in the picture first"),
    )
    return [Port(f"{kind}_{stride}", ("batch", f"cells_{stride}", size), meaning) for kind, size, meaning in kinds for stride in STRIDES]


def _side(face: Detection) -> float:
    x0, y0, x1, y1 = face.box_xyxy
    return min(x1 - x0, y1 - y0)


def _same(a: Detection, b: Detection) -> bool:
    return overlap(a.box_xyxy, b.box_xyxy) > 0.25

"""From the frames of one stream to its tracked faces: detects a few times a second, fills in the frames between, cuts out the crops."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from monitor.faces.crop import face_crop, mouth_crop
from monitor.faces.quality import MIN_FACE_PX, MIN_SHARPNESS, refusal
from monitor.faces.track import Tracker
from monitor.media import Detection, FaceView, FrameFaces, Reason, VideoFrame

Detect = Callable[[NDArray[np.uint8]], list[Detection]]
MAX_FACES = 6  # per frame, the largest; more cannot be judged in time
MAX_RATE_HZ = 31.0  # lips need no more than 25 pictures a second
MAX_EARLIER_S = 0.1  # between a looked-at frame and the one before, for what moves and flickers
MAX_WAITING = 32  # frames that may wait for the next detection, whatever their times say
CUT_MEAN_CHANGE = 20.0  # of 255, and
CUT_UNLIKENESS = 0.42  # 1 − correlation: none of 32,500 neighbouring frames of the pool has both, 99 % of the joints of two clips do


@dataclass(frozen=True, slots=True)
class _Seen:
    """A face on a frame that went through the detector."""

    detection: Detection
    reason: Reason | None


@dataclass(slots=True)
class _Look:
    """All faces of the frame that was last detected on, by track id, largest first."""

    time_s: float
    faces: dict[int, _Seen] = field(default_factory=dict)


class FaceWatcher:
    """Feed it every frame of one stream in time order; it returns finished frames in order, at most one detection interval late.

    `detect` runs on about `detect_hz` frames a second of media time, at scene cuts and at changes of resolution. Frames between two
    detections get boxes and landmarks that move in a straight line between them: a new face is reported from its first detection on, one
    that vanishes up to its last. A face refused by the quality gate at one end of such an interval is refused inside it too. Of a stream
    faster than 31 frames a second only every second, third, … frame is looked at and reported. On a `concealed` frame nothing is detected
    and nothing cut out; those that no detection follows keep the last boxes.
    """

    def __init__(
        self,
        detect: Detect,
        detect_hz: float = 5.0,
        min_face_px: float = MIN_FACE_PX,
        min_sharpness: float = MIN_SHARPNESS,
        tracker: Tracker | None = None,
    ) -> None:
        self._detect = detect
        self._interval_s = 1.0 / detect_hz
        self._min_face_px = min_face_px
        self._min_sharpness = min_sharpness
        self._tracker = tracker or Tracker()
        self._waiting: list[VideoFrame] = []  # since the last detection, not yet reported
        self._last = _Look(-np.inf)
        self._newest_s = -np.inf
        self._usual_gap_s = 1 / 30  # running mean of the time between frames
        self._skipped = 0
        self._last_shape: tuple[int, ...] = ()
        self._last_thumbnail: NDArray[np.float32] | None = None

    def add(self, frame: VideoFrame) -> list[FrameFaces]:
        """Frames that are finished now, oldest first. Frames must come in time order; one that does not is ignored."""
        if not self._wanted(frame.time_s):
            return []
        done: list[FrameFaces] = []
        if not frame.concealed:
            small = thumbnail(frame.rgb)
            cut = self._last_thumbnail is not None and scene_cut(self._last_thumbnail, small)
            if cut or (self._last_shape and frame.rgb.shape != self._last_shape):
                done += self.flush()
                self._last = _Look(-np.inf)
                if cut:
                    self._tracker.cut()
            self._last_thumbnail, self._last_shape = small, frame.rgb.shape
        self._waiting.append(frame)
        due = frame.time_s - self._last.time_s >= self._interval_s * 0.9  # the nearest frame, not the first one after
        if due and not frame.concealed:
            done += self._look(len(self._waiting) - 1)
        elif frame.time_s - self._last.time_s > 2 * self._interval_s or len(self._waiting) >= MAX_WAITING:
            done += self.flush()
        return done

    def flush(self) -> list[FrameFaces]:
        """Detect on the last waiting frame and report all that wait: the stream ended, or what follows does not continue it."""
        real = [index for index, frame in enumerate(self._waiting) if not frame.concealed]
        done = self._look(real[-1]) if real else []
        left, self._waiting = self._waiting, []
        return done + [FrameFaces(frame.time_s, self._unchanged(frame)) for frame in left]

    def _wanted(self, time_s: float) -> bool:
        """Whether this frame is in time order and not one too many for MAX_RATE_HZ."""
        if time_s <= self._newest_s:
            return False
        gap_s = min(time_s - self._newest_s, 0.1)
        self._usual_gap_s += 0.1 * (gap_s - self._usual_gap_s)
        self._newest_s = time_s
        self._skipped += 1
        if self._skipped < math.ceil(1 / (self._usual_gap_s * MAX_RATE_HZ) - 0.1):
            return False
        self._skipped = 0
        return True

    def _look(self, index: int) -> list[FrameFaces]:
        """Detect on one waiting frame; report it and all before it."""
        before, frame = self._waiting[:index], self._waiting[index]
        self._waiting = self._waiting[index + 1 :]
        found = sorted(self._detect(frame.rgb), key=_area, reverse=True)[:MAX_FACES]
        look = _Look(frame.time_s)
        height = frame.rgb.shape[0]
        for (track_id, _), detection in zip(self._tracker.update(frame.time_s, [_shrink(d, height) for d in found]), found, strict=True):
            look.faces[track_id] = _Seen(detection, refusal(frame.rgb, detection, self._min_face_px, self._min_sharpness))
        earlier = before[-1] if before and frame.time_s - before[-1].time_s <= MAX_EARLIER_S and not before[-1].concealed else None
        done = [self._between(waited, look) for waited in before]
        done.append(FrameFaces(frame.time_s, tuple(_whole_view(frame, earlier, i, seen) for i, seen in look.faces.items())))
        self._last = look
        return done

    def _unchanged(self, concealed: VideoFrame) -> tuple[FaceView, ...]:
        return tuple(_view(concealed, i, seen.detection, seen.reason) for i, seen in self._last.faces.items())

    def _between(self, frame: VideoFrame, after: _Look) -> FrameFaces:
        before = self._last
        share = (frame.time_s - before.time_s) / (after.time_s - before.time_s)
        return FrameFaces(
            frame.time_s,
            tuple(
                _view(frame, i, _mix(before.faces[i].detection, end.detection, share), before.faces[i].reason or end.reason)
                for i, end in after.faces.items()
                if i in before.faces
            ),
        )


def thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """18 × 32 pixels picked out of the picture, float32 [18, 32, 3]."""
    height, width = rgb.shape[:2]
    rows = (np.arange(18) * 2 + 1) * height // 36
    columns = (np.arange(32) * 2 + 1) * width // 64
    return np.asarray(rgb[rows[:, None], columns], np.float32)


def scene_cut(before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
    """Whether two thumbnails show different scenes: much changed, and the pattern too (a flash or a fade keeps the pattern)."""
    if float(np.abs(after - before).mean()) < CUT_MEAN_CHANGE:
        return False
    a, b = before - before.mean(), after - after.mean()
    likeness = float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-3))
    return 1.0 - likeness > CUT_UNLIKENESS


def _area(detection: Detection) -> float:
    x0, y0, x1, y1 = detection.box_xyxy
    return (x1 - x0) * (y1 - y0)


def _shrink(detection: Detection, height: int) -> Detection:
    """The same face in picture heights, so that a track outlives a change of resolution."""
    x0, y0, x1, y1 = detection.box_xyxy
    box = (x0 / height, y0 / height, x1 / height, y1 / height)
    return Detection(box, (detection.landmarks_xy / height).astype(np.float32), detection.confidence)


def _mix(a: Detection, b: Detection, share: float) -> Detection:
    x0, y0, x1, y1 = ((1 - share) * p + share * q for p, q in zip(a.box_xyxy, b.box_xyxy, strict=True))
    landmarks = (1 - share) * a.landmarks_xy + share * b.landmarks_xy
    return Detection((x0, y0, x1, y1), landmarks.astype(np.float32), min(a.confidence, b.confidence))


def _view(frame: VideoFrame, track_id: int, face: Detection, reason: Reason | None) -> FaceView:
    height, width = frame.rgb.shape[:2]
    x0, y0, x1, y1 = face.box_xyxy
    box = (max(x0 / width, 0.0), max(y0 / height, 0.0), min(x1 / width, 1.0), min(y1 / height, 1.0))
    if reason is not None or frame.concealed:
        return FaceView(track_id, box, reason=reason)
    return FaceView(track_id, box, mouth_gray=mouth_crop(frame.rgb, face.landmarks_xy), side_px=min(x1 - x0, y1 - y0))


def _whole_view(frame: VideoFrame, earlier: VideoFrame | None, track_id: int, seen: _Seen) -> FaceView:
    """With the whole face, now and a frame earlier at the same place."""
    view = _view(frame, track_id, seen.detection, seen.reason)
    if view.mouth_gray is None:
        return view
    landmarks = seen.detection.landmarks_xy
    return replace(
        view,
        face_rgb=face_crop(frame.rgb, landmarks),
        earlier_rgb=None if earlier is None else face_crop(earlier.rgb, landmarks),
    )

"""From the frames of one stream to its tracked faces: detects a few times a second, fills in the frames between, cuts out the crops."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.faces.crop import at_full_range, face_crop, mouth_crop
from monitor.faces.quality import MIN_FACE_PX, MIN_SHARPNESS, refusal
from monitor.faces.track import Tracker
from monitor.media import Detection, FaceView, FrameFaces, Luma, Reason, VideoFrame

MAX_FACES = 6  # per frame, the largest; more cannot be judged in time
MAX_RATE_HZ = 31.0  # lips need no more than 25 pictures a second
SEARCH_EVERY_S = 2.4  # for faces that were not there before; between, looks are at the known ones
STILL_SHARE = 0.05  # of its width: where no face's points moved more from look to look, the next look may be twice as late,
STILL_CHANGE = 8.0  # of 255: unless the picture changed more since (together they save a fifth of the looks, and hardly a pixel is lost)
MAX_EARLIER_S = 0.1  # between a looked-at frame and the one before, for what moves and flickers
MAX_WAITING = 32  # frames that may wait for the next detection, whatever their times say
CUT_MEAN_CHANGE = 20.0  # of 255, and
CUT_UNLIKENESS = 0.42  # 1 − correlation: hardly any neighbouring frames of the pool have both, 98 % of the joints of two clips do
BLACK = 20  # of 255: no brighter is a bar beside a picture of another shape
DARK_GREY, SAME_SHADE = 64, 12  # nor is one that conferencing windows draw, which hardly strays from one shade; brighter ones may be walls
LEAST_SHOWN = 0.2  # of the picture, between bars


class Detect(Protocol):
    """Faces of a picture. Given those of a moment ago it may look for these alone, and finds all when one of them is gone."""

    def __call__(self, rgb: NDArray[np.uint8], known: Sequence[Detection] = ()) -> list[Detection]: ...


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

    `detect` runs on about `detect_hz` frames a second of media time, half as many while nothing moves, at scene cuts and at changes of
    resolution. `part_from` says when the part of the stream began that a time belongs to: in each part a face is cut out once, for judging,
    on the first detected frame that can be; by default on all of them. Frames between two detections get boxes and landmarks that move in a
    straight line between them: a new face is reported from its first detection on, one that vanishes up to its last. A face refused by
    the quality gate at one end of such an interval is refused inside it too. Of a stream faster than 31 frames a second only every second,
    third, … frame is looked at and reported. On a `concealed` frame nothing is detected and nothing cut out; those that no detection
    follows keep the last boxes. All of it depends on the times of the frames alone: a file gives what the live stream gave.
    """

    def __init__(
        self,
        detect: Detect,
        detect_hz: float = 5.0,
        min_face_px: float = MIN_FACE_PX,
        min_sharpness: float = MIN_SHARPNESS,
        tracker: Tracker | None = None,
        part_from: Callable[[float], float] = lambda time_s: time_s,
    ) -> None:
        self._detect = detect
        self._interval_s = 1.0 / detect_hz
        self._min_face_px = min_face_px
        self._min_sharpness = min_sharpness
        self._tracker = tracker or Tracker()
        self._waiting: list[VideoFrame] = []  # since the last detection, not yet reported
        self._last = _Look(-np.inf)
        self._searched_s = -np.inf
        self._still = False
        self._part_from = part_from
        self._part_s = -np.inf
        self._cut_out: set[int] = set()  # tracks, in the part that began at `_part_s`
        self._newest_s = -np.inf
        self._usual_gap_s = 1 / 30  # running mean of the time between frames
        self._skipped = 0
        self._last_size_wh = (0, 0)
        self._last_thumbnail: NDArray[np.uint8] | None = None
        self._looked_thumbnail: NDArray[np.uint8] | None = None

    @property
    def next_look_s(self) -> float:
        """No frame before this time finishes any, unless the scene changes; so until then frames may be held back and added together."""
        return self._last.time_s + 0.9 * self._interval_s

    def add_all(self, frames: Sequence[VideoFrame]) -> list[FrameFaces]:
        return [done for frame in frames for done in self.add(frame)]

    def add(self, frame: VideoFrame) -> list[FrameFaces]:
        """Frames that are finished now, oldest first. Frames must come in time order; one that does not is ignored."""
        if not self._wanted(frame.time_s):
            return []
        done: list[FrameFaces] = []
        if not frame.concealed:
            small, size_wh = thumbnail(frame.picture.luma), frame.picture.size_wh
            cut = scene_cut(self._last_thumbnail, small)
            if cut or size_wh != self._last_size_wh:
                done += self.flush()
                self._last, self._still = _Look(-np.inf), False
                if cut:
                    self._tracker.cut()
            self._last_thumbnail, self._last_size_wh = small, size_wh
        self._waiting.append(frame)
        interval_s = self._interval_s * (2 if self._still and not changed(self._looked_thumbnail, self._last_thumbnail) else 1)
        due = frame.time_s - self._last.time_s >= interval_s * 0.9  # the nearest frame, not the first one after
        if due and not frame.concealed:
            done += self._look(len(self._waiting) - 1)
        elif frame.time_s - self._last.time_s > 2 * interval_s or len(self._waiting) >= MAX_WAITING:
            done += self.flush()
        return done

    def flush(self) -> list[FrameFaces]:
        """Detect on the last waiting frame and report all that wait: the stream ended, or what follows does not continue it."""
        real = [index for index, frame in enumerate(self._waiting) if not frame.concealed]
        done = self._look(real[-1], last=True) if real else []
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

    def _look(self, index: int, *, last: bool = False) -> list[FrameFaces]:
        """Detect on one waiting frame; report it and all before it. `last`: nothing follows that a face could be judged by instead."""
        before, frame = self._waiting[:index], self._waiting[index]
        self._waiting = self._waiting[index + 1 :]
        search = frame.time_s - self._searched_s >= 0.9 * SEARCH_EVERY_S or not self._last.faces
        known = [] if search else [seen.detection for seen in self._last.faces.values()]
        self._searched_s = frame.time_s if search else self._searched_s
        found = sorted(self._detect(frame.rgb, known), key=_area, reverse=True)[:MAX_FACES]
        look = _Look(frame.time_s)
        height = frame.picture.size_wh[1]
        for (track_id, _), detection in zip(self._tracker.update(frame.time_s, [_shrink(d, height) for d in found]), found, strict=True):
            look.faces[track_id] = _Seen(detection, refusal(frame.picture.luma, detection, self._min_face_px, self._min_sharpness))
        earlier = before[-1] if before and frame.time_s - before[-1].time_s <= MAX_EARLIER_S and not before[-1].concealed else None
        done = self._between(before, look)
        due = self._due(look, known_only=earlier is None and not last)
        done.append(FrameFaces(frame.time_s, tuple(_whole_view(frame, earlier, i, seen, i in due) for i, seen in look.faces.items())))
        self._still = _is_still(self._last, look)
        self._last, self._looked_thumbnail = look, self._last_thumbnail
        return done

    def _due(self, look: _Look, *, known_only: bool) -> set[int]:
        """Tracks that are to be cut out now. `known_only`: somebody new, of whom there is no frame before, waits for the second look."""
        part_s = self._part_from(look.time_s)
        if part_s != self._part_s:
            self._part_s = part_s
            self._cut_out.clear()
        wait = look.faces.keys() - self._last.faces.keys() if known_only else set()
        due = {i for i, seen in look.faces.items() if seen.reason is None} - wait - self._cut_out
        self._cut_out |= due
        return due

    def _unchanged(self, concealed: VideoFrame) -> tuple[FaceView, ...]:
        return tuple(_view(concealed, i, seen.detection, seen.reason) for i, seen in self._last.faces.items())

    def _between(self, frames: Sequence[VideoFrame], after: _Look) -> list[FrameFaces]:
        """Frames since the last look, finished by this one."""
        before = self._last
        shares = [(frame.time_s - before.time_s) / (after.time_s - before.time_s) for frame in frames]
        views: list[list[FaceView]] = [[] for _ in frames]
        for i, end in after.faces.items():
            if (start := before.faces.get(i)) is not None:
                for found, frame, face in zip(views, frames, _moving(start.detection, end.detection, shares), strict=True):
                    found.append(_view(frame, i, face, start.reason or end.reason))
        return [FrameFaces(frame.time_s, tuple(found)) for frame, found in zip(frames, views, strict=True)]


def thumbnail(luma: Luma) -> NDArray[np.uint8]:
    """18 × 32 pixels picked out of the picture, gray uint8 [18, 32]."""
    picked = cv2.resize(luma.pixels, (32, 18), interpolation=cv2.INTER_NEAREST_EXACT)
    return at_full_range(picked, luma)  # type: ignore[arg-type]


def changed(before: NDArray[np.uint8] | None, after: NDArray[np.uint8] | None) -> bool:
    """Whether two thumbnails differ so much that a face that was still may not be. Dark bars, at the same place in both, never do."""
    if before is None or after is None or _change(before, after) < STILL_CHANGE * LEAST_SHOWN:
        return False
    return _change(*_without_bars(before, after)) >= STILL_CHANGE


def scene_cut(before: NDArray[np.uint8] | None, after: NDArray[np.uint8]) -> bool:
    """Whether two thumbnails show different scenes: much changed, and the pattern too (a flash or a fade keeps the pattern). Dark bars are
    no part of the scene.
    """
    if before is None or _change(before, after) < CUT_MEAN_CHANGE * LEAST_SHOWN:
        return False
    before, after = _without_bars(before, after)
    if _change(before, after) < CUT_MEAN_CHANGE:
        return False
    a, b = before - before.mean(), after - after.mean()
    likeness = float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-3))
    return 1.0 - likeness > CUT_UNLIKENESS


def _without_bars(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both without the rows and columns at their edges that are bars in both; as they are where next to nothing would be left."""
    shade = int(before[0, 0])
    if BLACK < shade <= DARK_GREY:
        lit = np.maximum(abs(before.astype(np.int16) - shade), abs(after.astype(np.int16) - shade)) > SAME_SHADE
    else:
        lit = np.maximum(before, after) > BLACK
    rows, columns = (np.flatnonzero(lit.any(axis)) for axis in (1, 0))
    if len(rows) * len(columns) < LEAST_SHOWN * lit.size:
        return before, after
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return before[part], after[part]


def _change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Mean difference of two thumbnails, 0..255."""
    return cv2.norm(after, before, cv2.NORM_L1) / after.size


def _is_still(before: _Look, after: _Look) -> bool:
    """Whether both looks show the same faces at the same places; nobody at all is not still, or the first one would be seen late."""
    return after.faces.keys() == before.faces.keys() != set() and all(
        float(np.abs(seen.detection.landmarks_xy - before.faces[i].detection.landmarks_xy).max())
        <= STILL_SHARE * (seen.detection.box_xyxy[2] - seen.detection.box_xyxy[0])
        for i, seen in after.faces.items()
    )


def _area(detection: Detection) -> float:
    x0, y0, x1, y1 = detection.box_xyxy
    return (x1 - x0) * (y1 - y0)


def _shrink(detection: Detection, height: int) -> Detection:
    """The same face in picture heights, so that a track outlives a change of resolution."""
    x0, y0, x1, y1 = detection.box_xyxy
    box = (x0 / height, y0 / height, x1 / height, y1 / height)
    return Detection(box, (detection.landmarks_xy / height).astype(np.float32), detection.confidence)


def _moving(a: Detection, b: Detection, shares: Sequence[float]) -> Iterator[Detection]:
    """The face at each of these shares of its straight way from `a` to `b`."""
    way = np.array(shares, np.float32)[:, None, None] * (b.landmarks_xy - a.landmarks_xy)
    confidence = min(a.confidence, b.confidence)
    for share, landmarks_xy in zip(shares, a.landmarks_xy + way, strict=True):
        x0, y0, x1, y1 = (p + share * (q - p) for p, q in zip(a.box_xyxy, b.box_xyxy, strict=True))
        yield Detection((x0, y0, x1, y1), landmarks_xy, confidence)


def _view(frame: VideoFrame, track_id: int, face: Detection, reason: Reason | None) -> FaceView:
    width, height = frame.picture.size_wh
    x0, y0, x1, y1 = face.box_xyxy
    box = (max(x0 / width, 0.0), max(y0 / height, 0.0), min(x1 / width, 1.0), min(y1 / height, 1.0))
    if reason is not None or frame.concealed:
        return FaceView(track_id, box, reason=reason)
    return FaceView(track_id, box, mouth_gray=mouth_crop(frame.picture.luma, face.landmarks_xy), side_px=min(x1 - x0, y1 - y0))


def _whole_view(frame: VideoFrame, earlier: VideoFrame | None, track_id: int, seen: _Seen, due: bool) -> FaceView:
    """With the whole face when that is `due`, now and a frame earlier at the same place."""
    view = _view(frame, track_id, seen.detection, seen.reason)
    if not due:
        return view
    landmarks = seen.detection.landmarks_xy
    return replace(
        view,
        face_rgb=face_crop(frame.rgb, landmarks),
        earlier_rgb=None if earlier is None else face_crop(earlier.rgb, landmarks),
    )

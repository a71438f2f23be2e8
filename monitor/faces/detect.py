"""Finds faces and their five landmarks in a picture, by any network that speaks YuNet's twelve outputs (Wu, Peng, Yu 2023)."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.faces.crop import halved
from monitor.media import Detection

STRIDES = (8, 16, 32)
OUTPUTS = tuple([f"{name}_{stride}" for stride in STRIDES] for name in ("cls", "obj", "bbox", "kps"))
GRANULE_PX = 32  # the coarsest stride: sides of the network's input are multiples of it
MAX_OVERLAP = 0.3  # two boxes with a larger intersection over union are one face
VOTE_OVERLAP = 0.5  # boxes that overlap so much with a face's surest one vote on where it is
VOTE_SHARE = 0.5  # of the wanted confidence is enough to vote
NEAR_PX = 128  # longer side of a close look at one face, at least: more where the whole picture would show the face larger,
MOST_NEAR_PX = 192  # and none where it would have to be larger than this, for then the whole picture costs as little
NEAR_SIDES = 1.8  # what it shows, in sides of the face where that was last seen
MOST_NEAR = 3  # faces: more are found at once, for that costs less
NEAR_OVERLAP = 0.5  # of its boxes then and now: a face that moved further is searched for, or part of it might lie outside that look
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]
Run = Callable[[Floats], Mapping[str, NDArray[np.float32]]]


class FaceDetector:
    """Faces of one picture, surest first; with `known`, where faces were a moment ago, only those, if they are all still there.

    `run` takes float32 [1, 3, h, w], BGR 0..255, h and w multiples of 32, and returns for each stride 8, 16, 32 `cls_S`, `obj_S`
    [1, n, 1], `bbox_S` [1, n, 4] and `kps_S` [1, n, 10], cells row by row. Faces from about 10 px are found, measured after the longer
    side was shrunk to `long_side_px`; a smaller picture stays as it is. Where nothing is found, half that size is tried, a quarter of
    the cost: a face that fills a whole crop is seen only from further away (on 224-px stills it lifts YuNet from .983 to 1.000).
    Up to three small faces then get a closer look each, at a quarter of the cost, which is all that known ones need: landmarks always
    come from a face of the same size, and do not jump between looks of two kinds. No closer look is coarser than the whole one: what
    betrays a mouth is its finest detail, and landmarks that tremble blur it (over four folds its texture ranks at .64 instead of .78).
    """

    def __init__(self, run: Run, long_side_px: int = 320, min_confidence: float = 0.6) -> None:
        self._run = run
        self._long_side_px = long_side_px
        self._min_confidence = min_confidence

    def __call__(self, rgb: NDArray[np.uint8], known: Sequence[Detection] = ()) -> list[Detection]:
        if known and (still_there := self._closer(rgb, known)):
            return still_there
        long_side_px = min(self._long_side_px, max(rgb.shape[:2]))
        found = self._look(rgb, long_side_px) or self._look(rgb, max(1, long_side_px // 2))
        return self._closer(rgb, found) or found

    def _closer(self, rgb: NDArray[np.uint8], known: Sequence[Detection]) -> list[Detection]:
        """The same faces, seen closer; none at all where one of them is not found, or is where another one is."""
        places = [_around(face, rgb.shape[:2]) for face in known]
        sides_px = [self._near_px(place, rgb.shape[:2]) for place in places]
        if len(known) > MOST_NEAR or any(side_px > MOST_NEAR_PX for side_px in sides_px):
            return []
        seen: list[Detection] = []
        for face, place, side_px in zip(known, places, sides_px, strict=True):
            near = self._near(rgb, face, place, side_px)
            if near is None or any(overlap(near.box_xyxy, other.box_xyxy) > MAX_OVERLAP for other in seen):
                return []
            seen.append(near)
        return sorted(seen, key=lambda face: -face.confidence)

    def _near_px(self, place: tuple[slice, slice], size_hw: tuple[int, ...]) -> int:
        """Longer side of a close look there."""
        longest: int = max(part.stop - part.start for part in place)
        return max(NEAR_PX, round(longest * min(1.0, self._long_side_px / max(size_hw))))

    def _near(self, rgb: NDArray[np.uint8], face: Detection, place: tuple[slice, slice], side_px: int) -> Detection | None:
        part = rgb[place]
        found = [moved(each, place[1].start, place[0].start) for each in (self._look(part, side_px) if part.size else [])]
        best = max(found, key=lambda each: overlap(each.box_xyxy, face.box_xyxy), default=face)
        return None if best is face or overlap(best.box_xyxy, face.box_xyxy) <= NEAR_OVERLAP else best

    def _look(self, rgb: NDArray[np.uint8], long_side_px: int) -> list[Detection]:
        picture, scale = letterbox(rgb, long_side_px)
        found = decode(self._run(picture), (picture.shape[2], picture.shape[3]), self._min_confidence * VOTE_SHARE)
        return list(_told_apart(*found, self._min_confidence, scale))


def _around(face: Detection, size_hw: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the picture that a close look at the face shows; empty where it left the picture."""
    x0, y0, x1, y1 = face.box_xyxy
    reach = max(x1 - x0, y1 - y0) * NEAR_SIDES / 2
    ends = (
        [min(max(0, round((low + high) / 2 + side * reach)), length) for side in (-1, 1)]
        for low, high, length in ((y0, y1, size_hw[0]), (x0, x1, size_hw[1]))
    )
    rows, columns = (slice(*each) for each in ends)
    return rows, columns


def letterbox(rgb: NDArray[np.uint8], long_side_px: int) -> tuple[Floats, float]:
    """Picture [h, w, 3] as network input float32 [1, 3, H, W] in BGR, and its scale factor. Right and below it is filled up black."""
    height, width = rgb.shape[:2]
    scale = min(1.0, long_side_px / max(height, width))
    if scale < 1.0:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        while max(rgb.shape[:2]) >= 2 * long_side_px and min(rgb.shape[:2]) >= 2:
            rgb = halved(rgb)
        if size != (rgb.shape[1], rgb.shape[0]):
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    height, width = rgb.shape[:2]
    canvas = np.zeros((1, 3, -(-height // GRANULE_PX) * GRANULE_PX, -(-width // GRANULE_PX) * GRANULE_PX), np.float32)
    canvas[0, ::-1, :height, :width] = cv2.split(rgb)  # half the time of numpy's transposing
    return canvas, scale


def decode(outputs: Mapping[str, Floats], size_hw: tuple[int, int], min_confidence: float) -> tuple[Floats, Floats, Floats]:
    """Confidence [n], boxes x0 y0 x1 y1 [n, 4] and landmarks [n, 5, 2] in pixels of the network's input, for cells that are sure enough."""
    found = [_sure(outputs, stride, size_hw, min_confidence**2) for stride in STRIDES]
    confidence, boxes, landmarks = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return confidence, boxes, landmarks


def _sure(outputs: Mapping[str, Floats], stride: int, size_hw: tuple[int, int], least: float) -> tuple[Floats, Floats, Floats]:
    """`decode` for the cells of one stride. Nearly all are empty, so those are left out first."""
    both = outputs[f"cls_{stride}"].ravel() * outputs[f"obj_{stride}"].ravel()
    (sure,) = np.nonzero(both >= least)
    if not len(sure):
        return _NOTHING
    box, points = (outputs[f"{name}_{stride}"][0, sure] for name in ("bbox", "kps"))
    row, column = np.divmod(sure, size_hw[1] // stride)
    cell_xy = np.stack([column, row], axis=1).astype(np.float32)
    centre_xy = (cell_xy + box[:, :2]) * stride
    half_wh = np.exp(np.minimum(box[:, 2:], 6.0)) * (stride / 2)
    landmarks = (points.reshape(-1, 5, 2) + cell_xy[:, None]) * stride
    cls, obj = (outputs[f"{name}_{stride}"].ravel()[sure].clip(0, 1) for name in ("cls", "obj"))
    return np.sqrt(cls * obj), np.concatenate([centre_xy - half_wh, centre_xy + half_wh], axis=1), landmarks


_NOTHING = np.zeros(0, np.float32), np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)


def _told_apart(confidence: Floats, boxes: Floats, landmarks: Floats, min_confidence: float, scale: float) -> Iterator[Detection]:
    """One detection for each face, surest first, where its cells see it on average by squared confidence; `scale` is divided out.

    Steadier than the surest cell alone: on a still face under slight noise YuNet's landmarks tremble by 1.0 instead of 1.7 % of the
    distance between the eyes.
    """
    places = np.concatenate([boxes, landmarks.reshape(-1, 10)], axis=1) / scale
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.argsort(-confidence, kind="stable")
    while len(left) and confidence[left[0]] >= min_confidence:
        best = left[0]
        sides = np.minimum(boxes[best, 2:], boxes[:, 2:]) - np.maximum(boxes[best, :2], boxes[:, :2])
        shared = sides.clip(0).prod(axis=1)
        same = shared / (area[best] + area - shared)
        weight = np.where(same > VOTE_OVERLAP, confidence**2, 0.0)
        place = weight @ places / weight.sum()
        x0, y0, x1, y1 = place[:4].tolist()
        yield Detection((x0, y0, x1, y1), place[4:].reshape(5, 2).astype(np.float32), float(confidence[best]))
        left = left[same[left] <= MAX_OVERLAP]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b)]
    return width * height / (sum(areas) - width * height)


def moved(face: Detection, x: float, y: float) -> Detection:
    x0, y0, x1, y1 = face.box_xyxy
    return Detection((x0 + x, y0 + y, x1 + x, y1 + y), face.landmarks_xy + np.array([x, y], np.float32), face.confidence)

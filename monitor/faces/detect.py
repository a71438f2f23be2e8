"""Finds faces and their five landmarks in a picture, by any network that speaks YuNet's twelve outputs (Wu, Peng, Yu 2023)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.faces.crop import halved
from monitor.media import Detection

STRIDES = (8, 16, 32)
GRANULE_PX = 32  # the coarsest stride: sides of the network's input are multiples of it
MAX_OVERLAP = 0.3  # two boxes with a larger intersection over union are one face
VOTE_OVERLAP = 0.5  # boxes that overlap so much with a face's surest one vote on where it is
VOTE_SHARE = 0.5  # of the wanted confidence is enough to vote
NEAR_FACE_PX = 72  # longer side of a face in a close look, at least, as far as the picture has so many pixels
ZOOMS = (1.0, 1.5, 2.0, 3.0, 4.0)  # of a close look, against the whole one; steps, so that looks at one face are mostly alike
NEAR_MARGIN = 0.15  # what it shows around the face, in sides of the face where that was last seen, up to the next lines of the grid
NEAR_SHARE = 0.9  # of the whole picture's area: a look that shows more costs as much as the whole one
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
    Up to three small faces then get a closer look each, and only these looks where faces are known. Close looks are cut out along the
    lines of the net's coarsest cells and never coarser than the whole picture: so the net sees a face as it would in the whole one, and
    landmarks tremble by .1 % of its width between looks of two kinds. Cut out anywhere, they tremble by .4 to 1 %; what betrays a
    mouth is its finest detail, and trembling landmarks blur it (looks of 128 px at faces of any size cost its texture .14 of AUC).
    """

    def __init__(self, run: Run, long_side_px: int = 320, min_confidence: float = 0.6) -> None:
        self._run = run
        self._long_side_px = long_side_px
        self._min_confidence = min_confidence

    def __call__(self, rgb: NDArray[np.uint8], known: Sequence[Detection] = ()) -> list[Detection]:
        if known and (still_there := self._closer(rgb, known, seen_whole=False)):
            return still_there
        scale = min(1.0, self._long_side_px / max(rgb.shape[:2]))
        found = self._look(rgb, scale) or self._look(rgb, scale / 2)
        return self._closer(rgb, found, seen_whole=True) or found

    def _closer(self, rgb: NDArray[np.uint8], known: Sequence[Detection], *, seen_whole: bool) -> list[Detection]:
        """The same faces, seen closer; none at all where one of them is not found, is where another one is, or it would cost too much.

        `seen_whole`: they were just found in the whole picture, so only those that are to be magnified are looked at again.
        """
        if len(known) > MOST_NEAR:
            return []
        height, width = rgb.shape[:2]
        whole = min(1.0, self._long_side_px / max(height, width))
        scales = [self._scale_of(face, whole) for face in known]
        places = [_around(face, (height, width), scale) for face, scale in zip(known, scales, strict=True)]
        shown = sum(_area(place) for place, scale in zip(places, scales, strict=True) if scale == whole)
        if not seen_whole and shown > NEAR_SHARE * height * width:
            return []
        seen: list[Detection] = []
        for face, place, scale in zip(known, places, scales, strict=True):
            near = face if seen_whole and scale == whole else self._near(rgb, face, place, scale)
            if near is None or any(overlap(near.box_xyxy, other.box_xyxy) > MAX_OVERLAP for other in seen):
                return []
            seen.append(near)
        return sorted(seen, key=lambda face: -face.confidence)

    def _scale_of(self, face: Detection, whole: float) -> float:
        x0, y0, x1, y1 = face.box_xyxy
        zoom = next((zoom for zoom in ZOOMS if max(x1 - x0, y1 - y0) * whole * zoom >= NEAR_FACE_PX), ZOOMS[-1])
        return min(1.0, whole * zoom)

    def _near(self, rgb: NDArray[np.uint8], face: Detection, place: tuple[slice, slice], scale: float) -> Detection | None:
        part = rgb[place]
        found = [moved(each, place[1].start, place[0].start) for each in (self._look(part, scale) if part.size else [])]
        best = max(found, key=lambda each: overlap(each.box_xyxy, face.box_xyxy), default=face)
        return None if best is face or overlap(best.box_xyxy, face.box_xyxy) <= NEAR_OVERLAP else best

    def _look(self, rgb: NDArray[np.uint8], scale: float) -> list[Detection]:
        picture = boxed(rgb, scale)
        found = decode(self._run(picture), (picture.shape[2], picture.shape[3]), self._min_confidence * VOTE_SHARE)
        return list(_told_apart(*found, self._min_confidence, scale))


def _around(face: Detection, size_hw: tuple[int, ...], scale: float) -> tuple[slice, slice]:
    """Rows and columns of the picture that a close look at the face shows; empty where it left the picture."""
    x0, y0, x1, y1 = face.box_xyxy
    margin = NEAR_MARGIN * max(x1 - x0, y1 - y0)
    rows, columns = (
        _on_grid(low - margin, high + margin, length, scale) for low, high, length in ((y0, y1, size_hw[0]), (x0, x1, size_hw[1]))
    )
    return rows, columns


def _on_grid(low: float, high: float, length: int, scale: float) -> slice:
    """The pixels of low … high, out to the next multiples of GRANULE_PX once they are scaled."""
    granule = GRANULE_PX / scale
    start = min(max(0, round(math.floor(low / granule) * granule)), length)
    return slice(start, max(start, min(math.floor(math.ceil(high / granule) * granule), length)))


def _area(place: tuple[slice, slice]) -> int:
    height, width = (part.stop - part.start for part in place)
    return int(height * width)


def boxed(rgb: NDArray[np.uint8], scale: float) -> Floats:
    """Picture [h, w, 3], shrunk by `scale` 0..1, as network input float32 [1, 3, H, W] in BGR. Right and below it is filled up black."""
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    while scale <= 0.5 and min(rgb.shape[:2]) >= 2:
        rgb, scale = halved(rgb), scale * 2
    if size != (rgb.shape[1], rgb.shape[0]):
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    height, width = rgb.shape[:2]
    canvas = np.empty((1, 3, -(-height // GRANULE_PX) * GRANULE_PX, -(-width // GRANULE_PX) * GRANULE_PX), np.float32)
    canvas[:, :, height:], canvas[:, :, :, width:] = 0.0, 0.0
    for plane, colour in zip(canvas[0, ::-1], cv2.split(rgb), strict=True):  # half the time of numpy's transposing
        plane[:height, :width] = colour
    return canvas


def decode(outputs: Mapping[str, Floats], size_hw: tuple[int, int], min_confidence: float) -> tuple[Floats, Floats, Floats]:
    """Confidence [n], boxes x0 y0 x1 y1 [n, 4] and landmarks [n, 5, 2] in pixels of the network's input, for cells that are sure enough."""
    chance = (_of_all_cells(outputs, "cls") * np.minimum(_of_all_cells(outputs, "obj"), 1.0)).ravel()
    (sure,) = (chance >= min_confidence**2).nonzero()
    place = _cells(*size_hw)[sure]
    cell_xy, stride_px = place[:, :2], place[:, 2:]
    box, points = (_of_all_cells(outputs, name)[sure] for name in ("bbox", "kps"))
    centre_xy = (cell_xy + box[:, :2]) * stride_px
    half_wh = np.exp(np.minimum(box[:, 2:], 6.0)) * (stride_px / 2)
    landmarks = (points.reshape(-1, 5, 2) + cell_xy[:, None]) * stride_px[:, None]
    return np.sqrt(chance[sure]), np.concatenate([centre_xy - half_wh, centre_xy + half_wh], axis=1), landmarks


def _of_all_cells(outputs: Mapping[str, Floats], name: str) -> Floats:
    """[cells, numbers], stride by stride."""
    return np.concatenate([outputs[f"{name}_{stride}"][0] for stride in STRIDES])


@lru_cache(maxsize=64)
def _cells(height: int, width: int) -> Floats:
    """Column, row and stride of every cell: [cells, 3]."""
    grids = [np.mgrid[: height // stride, : width // stride].reshape(2, -1)[::-1] for stride in STRIDES]
    strides = [np.full((1, grid.shape[1]), stride) for grid, stride in zip(grids, STRIDES, strict=True)]
    return np.concatenate([np.concatenate(pair) for pair in zip(grids, strides, strict=True)], axis=1).T.astype(np.float32)


def _told_apart(confidence: Floats, boxes: Floats, landmarks: Floats, min_confidence: float, scale: float) -> Iterator[Detection]:
    """One detection for each face, surest first, where its cells see it on average by squared confidence; `scale` is divided out.

    Steadier than the surest cell alone: on a still face under slight noise YuNet's landmarks tremble by 1.0 instead of 1.7 % of the
    distance between the eyes.
    """
    places = np.concatenate([boxes, landmarks.reshape(-1, 10)], axis=1) / scale
    low, high = boxes[:, :2], boxes[:, 2:]
    area = _product(high - low)
    left = np.argsort(-confidence, kind="stable")
    while len(left) and confidence[left[0]] >= min_confidence:
        best = left[0]
        shared = _product(np.maximum(np.minimum(high[best], high) - np.maximum(low[best], low), 0.0))
        same = shared / (area[best] + area - shared)
        weight = np.where(same > VOTE_OVERLAP, confidence**2, 0.0)
        place = weight @ places / weight.sum()
        x0, y0, x1, y1 = place[:4].tolist()
        yield Detection((x0, y0, x1, y1), place[4:].reshape(5, 2).astype(np.float32), float(confidence[best]))
        left = left[same[left] <= MAX_OVERLAP]


def _product(sides: Floats) -> Floats:
    """Of width and height: [n, 2] → [n]. Less than half the time of `prod`."""
    return sides[:, 0] * sides[:, 1]


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

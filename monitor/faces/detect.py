"""Finds faces and their five landmarks in a picture, by any network that speaks YuNet's twelve outputs (Wu, Peng, Yu 2023)."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.media import Detection

STRIDES = (8, 16, 32)
GRANULE_PX = 32  # the coarsest stride: sides of the network's input are multiples of it
MAX_OVERLAP = 0.3  # two boxes with a larger intersection over union are one face
Floats = NDArray[np.float32]
Run = Callable[[Floats], Mapping[str, NDArray[np.float32]]]


class FaceDetector:
    """Faces of one picture, surest first.

    `run` takes float32 [1, 3, h, w], BGR 0..255, h and w multiples of 32, and returns for each stride 8, 16, 32 `cls_S`, `obj_S`
    [1, n, 1], `bbox_S` [1, n, 4] and `kps_S` [1, n, 10], cells row by row. Faces from about 10 px are found, measured after the longer
    side was shrunk to `long_side_px`; a smaller picture stays as it is. Where nothing is found, half that size is tried, a quarter of
    the cost: a face that fills a whole crop is seen only from further away (on 224-px stills it lifts YuNet from .983 to 1.000).
    """

    def __init__(self, run: Run, long_side_px: int = 320, min_confidence: float = 0.6) -> None:
        self._run = run
        self._long_side_px = long_side_px
        self._min_confidence = min_confidence

    def __call__(self, rgb: NDArray[np.uint8]) -> list[Detection]:
        long_side_px = min(self._long_side_px, max(rgb.shape[:2]))
        return self._look(rgb, long_side_px) or self._look(rgb, max(1, long_side_px // 2))

    def _look(self, rgb: NDArray[np.uint8], long_side_px: int) -> list[Detection]:
        picture, scale = letterbox(rgb, long_side_px)
        confidence, boxes, landmarks = decode(self._run(picture), (picture.shape[2], picture.shape[3]), self._min_confidence)
        keep = suppress(confidence, boxes)
        return [
            Detection(
                box_xyxy=(float(boxes[i, 0] / scale), float(boxes[i, 1] / scale), float(boxes[i, 2] / scale), float(boxes[i, 3] / scale)),
                landmarks_xy=(landmarks[i] / scale).astype(np.float32),
                confidence=float(confidence[i]),
            )
            for i in keep
        ]


def letterbox(rgb: NDArray[np.uint8], long_side_px: int) -> tuple[Floats, float]:
    """Picture [h, w, 3] as network input float32 [1, 3, H, W] in BGR, and its scale factor. Right and below it is filled up black."""
    height, width = rgb.shape[:2]
    scale = min(1.0, long_side_px / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    height, width = rgb.shape[:2]
    canvas = np.zeros((1, 3, -(-height // GRANULE_PX) * GRANULE_PX, -(-width // GRANULE_PX) * GRANULE_PX), np.float32)
    canvas[0, :, :height, :width] = rgb[:, :, ::-1].transpose(2, 0, 1)
    return canvas, scale


def decode(outputs: Mapping[str, Floats], size_hw: tuple[int, int], min_confidence: float) -> tuple[Floats, Floats, Floats]:
    """Confidence [n], boxes x0 y0 x1 y1 [n, 4] and landmarks [n, 5, 2] in pixels of the network's input, for cells that are sure enough."""
    confidence, boxes, landmarks = [], [], []
    for stride in STRIDES:
        columns = size_hw[1] // stride
        score = np.sqrt(np.clip(outputs[f"cls_{stride}"][0, :, 0], 0, 1) * np.clip(outputs[f"obj_{stride}"][0, :, 0], 0, 1))
        sure = np.flatnonzero(score >= min_confidence)
        cell_xy = np.stack([sure % columns, sure // columns], axis=1).astype(np.float32)
        box = outputs[f"bbox_{stride}"][0, sure]
        centre_xy = (cell_xy + box[:, :2]) * stride
        half_wh = np.exp(np.minimum(box[:, 2:], 6.0)) * (stride / 2)
        confidence.append(score[sure])
        boxes.append(np.concatenate([centre_xy - half_wh, centre_xy + half_wh], axis=1))
        landmarks.append((outputs[f"kps_{stride}"][0, sure].reshape(-1, 5, 2) + cell_xy[:, None]) * stride)
    return np.concatenate(confidence), np.concatenate(boxes), np.concatenate(landmarks)


def suppress(confidence: Floats, boxes: Floats) -> list[int]:
    """Indices of the boxes that stay when each face keeps only its surest one; surest first."""
    if not len(confidence):
        return []
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return [int(i) for i in cv2.dnn.NMSBoxes(xywh.tolist(), confidence.tolist(), 0.0, MAX_OVERLAP)]

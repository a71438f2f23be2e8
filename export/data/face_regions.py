"""Where a forgery sits on an aligned wide crop, and how another face is brought into that place. All masks float32 [160, 160], 0..1."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.face_augment import Draw, Floats, Image, region_mask
from export.data.faces import WIDE_PX

# Outlines on the crop's five-point template, in its pixels: brows and jaw as the hull of the usual 68 landmarks, and its lower half.
_HULL = [(50, 55), (58, 49), (70, 50), (80, 52), (90, 50), (102, 49), (110, 55), (113, 72), (112, 90), (106, 108), (96, 122), (80, 129)]
_HULL += [(64, 122), (54, 108), (48, 90), (47, 72)]
_FEATURES = [(48, 60), (62, 54), (80, 58), (98, 54), (112, 60), (110, 74), (98, 88), (102, 106), (92, 117), (80, 119), (68, 117), (58, 106)]
_FEATURES += [(62, 88), (50, 74)]
_LOWER = [(52, 84), (64, 76), (80, 74), (96, 76), (108, 84), (108, 104), (97, 121), (80, 128), (63, 121), (52, 104)]
_BOX = [(46, 82), (114, 82), (114, 136), (46, 136)]
_HEAD = [(36, 40), (56, 20), (80, 14), (104, 20), (124, 40), (126, 80), (118, 116), (100, 138), (80, 144), (60, 138), (42, 116), (34, 80)]
OUTLINES = {"hull": _HULL, "features": _FEATURES, "lower": _LOWER, "box": _BOX, "head": _HEAD}
FAINT = 0.02  # a weight below this changes nothing that a byte could hold, so it is none
_FLOW = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)


def draw_region(rng: Draw, names: dict[str, float]) -> Floats:
    """A region drawn by its share in `names`: an outline of `OUTLINES`, one of `region_mask`, or "whole", the crop from edge to edge."""
    name = str(rng.choice(list(names), p=list(names.values())))
    if name == "whole":
        return np.ones((WIDE_PX, WIDE_PX), np.float32)
    if name in OUTLINES:
        return _outlined(rng, np.array(OUTLINES[name], np.float32))
    mask = region_mask(rng, name, WIDE_PX)
    return _bounded(mask)


def _outlined(rng: Draw, outline: Floats) -> Floats:
    """The outline a little larger or smaller, its corners off by some 1.5 px, its edge feathered by 0.6 to 5 px."""
    centre = outline.mean(0)
    points = (outline - centre) * rng.uniform(0.88, 1.08, 2) + centre + rng.normal(0, 1.5, outline.shape)
    mask = np.zeros((WIDE_PX, WIDE_PX), np.float32)
    cv2.fillPoly(mask, [np.round(points * 8).astype(np.int32)], 1.0, cv2.LINE_AA, 3)
    return _bounded(cv2.GaussianBlur(mask, (0, 0), float(np.exp(rng.uniform(np.log(0.6), np.log(5.0))))))


def _bounded(mask: NDArray[Any]) -> Floats:
    return np.where(mask < FAINT, 0, np.minimum(mask, 1)).astype(np.float32)


def flow_between(from_picture: Image, to_picture: Image, most_px: float, smooth_px: float) -> Floats:
    """Displacement [160, 160, 2] in px: where in `from_picture` each point of `to_picture` lies (Kroeger 2016), smoothed and bounded."""
    gray = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (to_picture, from_picture)]
    flow = cv2.GaussianBlur(_FLOW.calc(gray[0], gray[1], None), (0, 0), smooth_px)  # type: ignore[call-overload]
    return np.clip(flow, -most_px, most_px).astype(np.float32)


def random_flow(rng: Draw, most_px: float) -> Floats:
    """A smooth random displacement [160, 160, 2] of some `most_px` at its largest, as of a head that turns and a mouth that moves."""
    knots = int(rng.integers(3, 8))
    flow = cv2.resize(rng.normal(0, 1, (knots, knots, 2)).astype(np.float32), (WIDE_PX, WIDE_PX), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:WIDE_PX, :WIDE_PX].astype(np.float32)
    jaw = np.exp(-(((x - 80) / 24) ** 2) - ((y - 116) / 16) ** 2)
    flow[..., 1] += rng.normal(0, 2.0) * jaw
    flow[..., 0] += rng.normal(0, 0.8) * np.exp(-(((x - 80) / 30) ** 2) - ((y - 88) / 34) ** 2)
    return (flow * (most_px / max(float(np.abs(flow).max()), 1e-6))).astype(np.float32)


def moved(picture: Image, flow: Floats, interpolation: int = cv2.INTER_LINEAR) -> Image:
    """`picture` read at each point plus its displacement; beyond the edge the edge goes on."""
    y, x = np.mgrid[:WIDE_PX, :WIDE_PX].astype(np.float32)
    read: Image = cv2.remap(picture, x + flow[..., 0], y + flow[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
    return read


def border_matched(source: Image, target: Image, mask: Floats) -> Image:
    """`source` shifted by a smooth colour field so that it meets `target` along the edge of the mask (a cheap Poisson blend)."""
    small = (WIDE_PX // 4, WIDE_PX // 4)
    difference = cv2.resize(target.astype(np.float32) - source.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    cells = cv2.resize(mask, small, interpolation=cv2.INTER_AREA)
    edge = (4 * cells * (1 - cells) + 1e-4)[..., None]
    field = np.asarray(cv2.GaussianBlur(difference * edge, (0, 0), 6) / cv2.GaussianBlur(np.repeat(edge, 3, 2), (0, 0), 6), np.float32)
    shifted = source.astype(np.float32) + cv2.resize(field, (WIDE_PX, WIDE_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(shifted + 0.5, 0, 255), np.uint8)

"""Follows several faces from detection to detection and gives each one a number that stays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.media import Detection

GATE = 1.2  # a face is lost when it appears further off than this, in the cost below
SIZE_WEIGHT = 1.0  # a doubled face costs as much as a shift of 0.7 of its width
VELOCITY_GAIN = 0.6  # how much of each newly seen movement is believed
AGE_WEIGHT = 0.2  # per second unseen: of two who may be meant, it is the one seen last
COAST_S = 0.5  # a face not seen is expected to move on for so long and then to wait
Floats = NDArray[np.float64]


@dataclass(slots=True)
class _Path:
    """Where one face was last seen: centre and side in the unit of the boxes, velocity in that unit per second."""

    track_id: int
    seen_s: float
    centre_xy: Floats
    side: float
    velocity_xy: Floats

    def expected_xy(self, time_s: float) -> Floats:
        return self.centre_xy + self.velocity_xy * min(time_s - self.seen_s, COAST_S)

    def see(self, time_s: float, centre_xy: Floats, side: float) -> None:
        moved = (centre_xy - self.centre_xy) / max(time_s - self.seen_s, 1e-3)
        self.velocity_xy = self.velocity_xy + VELOCITY_GAIN * (moved - self.velocity_xy)
        self.centre_xy, self.side, self.seen_s = centre_xy, side, time_s


class Tracker:
    """Numbers faces 0, 1, 2, … in the order of their appearance; a number is never used again.

    Boxes may be in any unit that stays the same from update to update. A face is remembered for `memory_s` without being seen.
    """

    def __init__(self, memory_s: float = 1.0) -> None:
        self._memory_s = memory_s
        self._paths: list[_Path] = []
        self._next_id = 0

    def update(self, time_s: float, detections: Sequence[Detection]) -> list[tuple[int, Detection]]:
        """The detections of one picture with their track ids, in the order given. Times must not go back."""
        self._paths = [path for path in self._paths if time_s - path.seen_s <= self._memory_s + 1e-6]
        centres, sides = _places(detections)
        chosen = _assign(self._costs(time_s, centres, sides))
        numbered = []
        for index, detection in enumerate(detections):
            if index in chosen:
                path = self._paths[chosen[index]]
                path.see(time_s, centres[index], float(sides[index]))
            else:
                path = _Path(self._next_id, time_s, centres[index], float(sides[index]), np.zeros(2))
                self._paths.append(path)
                self._next_id += 1
            numbered.append((path.track_id, detection))
        return numbered

    def cut(self) -> None:
        """The scene changed: whoever is seen next is somebody new."""
        self._paths.clear()

    def _costs(self, time_s: float, centres: Floats, sides: Floats) -> Floats:
        """[detections, paths]: distance from where the path was expected, in face sides, plus the change of size and the time unseen."""
        if not self._paths or not len(centres):
            return np.zeros((len(centres), len(self._paths)))
        expected = np.stack([path.expected_xy(time_s) for path in self._paths])
        known = np.array([path.side for path in self._paths])
        unseen_s = np.array([time_s - path.seen_s for path in self._paths])
        distance = np.linalg.norm(centres[:, None] - expected[None], axis=2)
        cost: Floats = (
            distance / np.sqrt(sides[:, None] * known[None])
            + SIZE_WEIGHT * np.abs(np.log(sides[:, None] / known[None]))
            + AGE_WEIGHT * unseen_s
        )
        return cost


def _places(detections: Sequence[Detection]) -> tuple[Floats, Floats]:
    """Centres [n, 2] and mean sides [n] of the boxes."""
    boxes = np.array([detection.box_xyxy for detection in detections], np.float64).reshape(-1, 4)
    sides = np.sqrt(np.maximum(boxes[:, 2] - boxes[:, 0], 1e-6) * np.maximum(boxes[:, 3] - boxes[:, 1], 1e-6))
    return (boxes[:, :2] + boxes[:, 2:]) / 2, sides


def _assign(costs: Floats) -> dict[int, int]:
    """Row → column, cheapest first, nothing above the gate; then pairs swap partners while that makes both together cheaper."""
    chosen: dict[int, int] = {}
    for flat in np.argsort(costs, axis=None, kind="stable"):
        row, column = divmod(int(flat), costs.shape[1])
        if costs[row, column] > GATE:
            break
        if row not in chosen and column not in chosen.values():
            chosen[row] = column
    rows = list(chosen)
    for i, a in enumerate(rows):
        for b in rows[i + 1 :]:
            swapped = costs[a, chosen[b]], costs[b, chosen[a]]
            if max(swapped) <= GATE and sum(swapped) < costs[a, chosen[a]] + costs[b, chosen[b]]:
                chosen[a], chosen[b] = chosen[b], chosen[a]
    return chosen

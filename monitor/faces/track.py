"""Follows several faces from detection to detection and gives each one a number that stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, log, sqrt

from monitor.media import Detection

GATE = 1.2  # a face is lost when it appears further off than this, in the cost below
SIZE_WEIGHT = 1.0  # a doubled face costs as much as a shift of 0.7 of its width
VELOCITY_GAIN = 0.6  # how much of each newly seen movement is believed
AGE_WEIGHT = 0.2  # per second unseen: of two who may be meant, it is the one seen last
COAST_S = 0.5  # a face not seen is expected to move on for so long and then to wait
SMALLEST = 1e-6  # side of a box


@dataclass(slots=True)
class _Path:
    """Where one face was last seen: centre and side in the unit of the boxes, velocity in that unit per second."""

    track_id: int
    seen_s: float
    x: float
    y: float
    side: float
    x_per_s: float = 0.0
    y_per_s: float = 0.0

    def see(self, time_s: float, x: float, y: float, side: float) -> None:
        passed_s = max(time_s - self.seen_s, 1e-3)
        self.x_per_s += VELOCITY_GAIN * ((x - self.x) / passed_s - self.x_per_s)
        self.y_per_s += VELOCITY_GAIN * ((y - self.y) / passed_s - self.y_per_s)
        self.x, self.y, self.side, self.seen_s = x, y, side, time_s

    def cost(self, time_s: float, x: float, y: float, side: float) -> float:
        """Distance from where it was expected, in face sides, plus the change of size and the time unseen."""
        unseen_s = time_s - self.seen_s
        coast_s = min(unseen_s, COAST_S)
        distance = hypot(x - self.x - coast_s * self.x_per_s, y - self.y - coast_s * self.y_per_s)
        return distance / sqrt(side * self.side) + SIZE_WEIGHT * abs(log(side / self.side)) + AGE_WEIGHT * unseen_s


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
        places = [_place(detection) for detection in detections]
        chosen = _assign([[path.cost(time_s, *place) for path in self._paths] for place in places])
        numbered = []
        for index, (detection, place) in enumerate(zip(detections, places, strict=True)):
            if index in chosen:
                path = self._paths[chosen[index]]
                path.see(time_s, *place)
            else:
                path = _Path(self._next_id, time_s, *place)
                self._paths.append(path)
                self._next_id += 1
            numbered.append((path.track_id, detection))
        return numbered

    def cut(self) -> None:
        """The scene changed: whoever is seen next is somebody new."""
        self._paths.clear()


def _place(detection: Detection) -> tuple[float, float, float]:
    """Centre and mean side of the box."""
    x0, y0, x1, y1 = detection.box_xyxy
    return (x0 + x1) / 2, (y0 + y1) / 2, sqrt(max(x1 - x0, SMALLEST) * max(y1 - y0, SMALLEST))


def _assign(costs: list[list[float]]) -> dict[int, int]:
    """Row → column, cheapest first, nothing above the gate; then pairs swap partners while that makes both together cheaper."""
    chosen: dict[int, int] = {}
    near = ((cost, row, column) for row, line in enumerate(costs) for column, cost in enumerate(line) if cost <= GATE)
    for _, row, column in sorted(near):
        if row not in chosen and column not in chosen.values():
            chosen[row] = column
    rows = list(chosen)
    for i, a in enumerate(rows):
        for b in rows[i + 1 :]:
            swapped = costs[a][chosen[b]], costs[b][chosen[a]]
            if max(swapped) <= GATE and sum(swapped) < costs[a][chosen[a]] + costs[b][chosen[b]]:
                chosen[a], chosen[b] = chosen[b], chosen[a]
    return chosen

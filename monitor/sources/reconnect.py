"""How long to wait before the next try. Pure: it counts, others wait."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

JITTER = 0.2  # a share of the wait, so that many streams that broke together do not come back together


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `initial_s` up to `max_s`, for ever."""

    initial_s: float = 1.0
    max_s: float = 30.0
    chance: Callable[[], float] = random.random

    def waits_s(self) -> Iterator[float]:
        wait_s = self.initial_s
        while True:
            yield min(wait_s, self.max_s) * (1 - JITTER + 2 * JITTER * self.chance())
            wait_s = min(wait_s * 2, self.max_s)

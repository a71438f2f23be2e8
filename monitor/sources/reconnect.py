"""How long to wait before the next try. Pure: it counts, others wait."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: each wait is anything from 0 to a bound that doubles from `initial_s` up to `max_s`, for ever.

    So streams that broke together come back spread out (M. Brooker, "Exponential Backoff and Jitter", AWS 2015). `chance`: 0 to 1.
    """

    initial_s: float = 1.0
    max_s: float = 30.0
    chance: Callable[[], float] = random.random

    def waits_s(self) -> Iterator[float]:
        bound_s = self.initial_s
        while True:
            yield min(bound_s, self.max_s) * self.chance()
            bound_s = min(bound_s * 2, self.max_s)

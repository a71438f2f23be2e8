"""Waits between tries: anything below a bound that doubles up to the cap, never the same for two streams."""

import random
from itertools import islice

import pytest

from monitor.sources.reconnect import Backoff


def test_bounds_double_up_to_the_cap() -> None:
    waits_s = list(islice(Backoff(1.0, 30.0, chance=lambda: 1.0).waits_s(), 8))
    assert waits_s == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])


def test_waits_fill_the_whole_span_below_their_bound() -> None:
    backoff = Backoff(1.0, 30.0, chance=random.Random(1).random)
    sixth_waits_s = [next(islice(backoff.waits_s(), 5, None)) for _ in range(2000)]
    assert 0 <= min(sixth_waits_s) < 0.5
    assert 29.5 < max(sixth_waits_s) <= 30
    assert sum(sixth_waits_s) / 2000 == pytest.approx(15, abs=1)


def test_two_streams_that_broke_together_do_not_come_back_together() -> None:
    assert list(islice(Backoff().waits_s(), 5)) != list(islice(Backoff().waits_s(), 5))

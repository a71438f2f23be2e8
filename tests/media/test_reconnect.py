"""Waits between tries: they double, stay under the cap, and never agree between two streams."""

from itertools import islice

import pytest

from monitor.sources.reconnect import JITTER, Backoff


def test_waits_double_up_to_the_cap():
    waits_s = list(islice(Backoff(1.0, 30.0, chance=lambda: 0.5).waits_s(), 8))
    assert waits_s == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_jitter_stays_within_its_share(chance):
    waits_s = list(islice(Backoff(1.0, 8.0, chance=lambda: chance).waits_s(), 5))
    sign = -1 if chance == 0 else 1
    assert waits_s == pytest.approx([wait * (1 + sign * JITTER) for wait in (1, 2, 4, 8, 8)])


def test_two_streams_that_broke_together_do_not_come_back_together():
    assert list(islice(Backoff().waits_s(), 5)) != list(islice(Backoff().waits_s(), 5))

"""What the lip–voice net is judged by, on lips and voices made up."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("scipy", reason="scipy is not installed (pip install -e .[export])")

from export.judge_audio_visual import judged_sync, within_a_step_of_own

STEPS = 60
Pair = tuple[np.ndarray, np.ndarray]


def talking(seed: int, late_steps: int) -> Pair:
    """Lips and the same as a voice, `late_steps` later."""
    said = np.random.default_rng(seed).standard_normal((STEPS + 20, 16)).astype(np.float32)
    return said[10 : 10 + STEPS], said[10 - late_steps : 10 - late_steps + STEPS]


def test_a_phone_that_is_always_late_is_told_as_precisely_as_one_that_is_not() -> None:
    late = {"near": (0, 0, 0), "late": (5, 5, 5), "uneven": (0, 0, 5)}
    who = [person for person, steps in late.items() for _ in steps]
    found = judged_sync([talking(seed, steps) for seed, steps in enumerate(sum(late.values(), ()))], who)
    assert found.lag_right == pytest.approx(5 / 9)
    assert found.lag_as_others == (6, 9)  # of the uneven one, the median of two others lies 2.5 steps off even for those at zero
    assert found.dub_auc == 1.0


def test_people_with_too_few_clips_say_nothing_of_their_own_lag() -> None:
    assert within_a_step_of_own([0.0, 0.01, 0.5, 0.2, 0.2], ["a", "a", "b", "c", "c"]) == (0, 0)
    assert within_a_step_of_own([0.2, 0.23, 0.21], ["a"] * 3) == (3, 3)

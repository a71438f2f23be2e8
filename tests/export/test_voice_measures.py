"""A clip is heard in the reports as in a call: its first window whole, of each later one what is new."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

from export.voice_measures import WINDOW, clip_logit  # noqa: E402
from tests.core.test_speech import voiced  # noqa: E402


class HowMuch(torch.nn.Module):
    """Its logit is how many seconds of spectrum it was given; the sound is always of a whole window."""

    def forward(self, log_spectrum: torch.Tensor, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert samples.shape[1] == WINDOW
        return torch.full((len(samples),), log_spectrum.shape[1] / 100), torch.zeros(len(samples), 1)


def test_of_later_windows_the_spectrum_of_the_new_half_is_heard() -> None:
    assert clip_logit(HowMuch(), voiced(2.4)) == pytest.approx(2.4)
    assert clip_logit(HowMuch(), voiced(3.6)) == pytest.approx((2.4 + 1.2) / 2)


def test_a_clip_without_speech_has_no_logit() -> None:
    assert np.isnan(clip_logit(HowMuch(), np.zeros(WINDOW, np.float32)))

"""What the lip–voice net is asked for is least where it should be."""

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

import torch

from export.audio_visual_losses import (
    character_loss,
    correlation_loss,
    count_loss,
    curves,
    label_loss,
    step_loss,
    sync_loss,
    unit_loss,
)
from monitor.alerts.sync import MAX_LAG_STEPS, similarity_curve

SHARPNESS = torch.tensor([15.0, 15.0])
LAGS = torch.tensor([0, 3, -4, 6, -6, 1])


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Six clips whose step t of the lips is step t + LAGS of the voice."""
    torch.manual_seed(0)
    moments = torch.nn.functional.normalize(torch.randn(6, 36, 64), dim=2)
    voice = torch.stack([moments[clip, 6 - lag : 30 - lag] for clip, lag in enumerate(LAGS.tolist())])
    return moments[:, 6:30], voice


@pytest.mark.parametrize("sure", [True, False])
def test_sync_loss_is_least_at_the_true_lag(sure: bool) -> None:
    lips, voice = pairs()
    certain = torch.full((6,), sure)
    right = sync_loss(lips, voice, LAGS, certain, SHARPNESS)
    assert right < sync_loss(lips, voice, -LAGS, certain, SHARPNESS)
    assert right < sync_loss(lips, voice.roll(1, 0), LAGS, certain, SHARPNESS)


def test_a_measured_lag_may_be_two_steps_off() -> None:
    lips, voice = pairs()
    loose = torch.zeros(6, dtype=torch.bool)
    assert torch.isclose(sync_loss(lips, voice, LAGS, loose, SHARPNESS), sync_loss(lips, voice, LAGS + 2, loose, SHARPNESS), atol=0.05)
    assert sync_loss(lips, voice, LAGS + 2, ~loose, SHARPNESS) > sync_loss(lips, voice, LAGS, ~loose, SHARPNESS) + 1


def test_training_reads_curves_as_the_product_does() -> None:
    lips, voice = pairs()
    mine = curves(lips, voice, 8)[2, 2].numpy()
    theirs = similarity_curve(lips[2].numpy(), voice[2].numpy(), torch.ones(24, dtype=torch.bool).numpy())
    assert mine == pytest.approx(theirs[MAX_LAG_STEPS - 8 : MAX_LAG_STEPS + 9], abs=1e-5)


def test_steps_want_their_own_moment() -> None:
    lips, voice = pairs()
    assert step_loss(lips, voice, LAGS, SHARPNESS) < step_loss(lips, voice, LAGS + 1, SHARPNESS)


def test_correlation_follows_what_is_said_not_only_when() -> None:
    """Two clips that say the same are told alike, so a high cosine between them is right."""
    torch.manual_seed(1)
    said = torch.randn(1, 5, 96) * 4
    units = torch.cat([said, said])
    vectors = torch.nn.functional.normalize(torch.randn(1, 5, 16), dim=2)
    alike, apart = torch.cat([vectors, vectors]), torch.cat([vectors, -vectors])
    one = torch.tensor([1.0, 0.0])
    assert correlation_loss(alike, alike, units, units, one) < correlation_loss(alike, apart, units, units, one)
    assert correlation_loss(alike, alike, units, units, one).item() >= 0


def test_units_and_characters_are_least_where_they_are_right() -> None:
    units = torch.tensor([[1, 2, 3]])
    assert unit_loss(torch.nn.functional.one_hot(units, 96) * 9.0, units) < unit_loss(torch.zeros(1, 3, 96), units)
    spelt = torch.log_softmax(torch.nn.functional.one_hot(torch.tensor([1, 0, 2, 0]), 4)[:, None] * 9.0, 2)
    assert character_loss(spelt, [[1, 2]]) < character_loss(spelt, [[2, 1]])


def test_unknown_labels_do_not_count() -> None:
    logits = torch.tensor([[9.0, -9.0], [-9.0, 9.0]])
    all_known = label_loss(logits, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert all_known < label_loss(logits, torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert torch.isclose(label_loss(logits, torch.tensor([[1.0, -1.0], [-1.0, 1.0]])), all_known, atol=0.1)
    assert torch.isfinite(count_loss(torch.zeros(2, 3), torch.tensor([[1.0, -1.0], [0.0, 1.0]])))
    by_step = torch.zeros(2, 4, 2)
    assert torch.isfinite(label_loss(by_step, by_step - 1))

"""Talk as the lip–voice net meets it: worn, retimed, cut apart by known lags, and named by speech units."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("scipy", reason="scipy is not installed (pip install -e .[export])")

import torch

from export.data.mouths import MouthWear, moved_mouths
from export.data.pool import PoolError, cache_folder, pool_folder
from export.data.talk import load_talk, split_avspeech, split_talk
from export.data.talk_batches import Alphabet
from export.data.talk_views import retimed, train_talk
from export.data.units import UNITS, fit_units
from export.data.voice_mels import worn_mels
from export.nets.audio_visual import INNER, INNER_PX, LipFront
from export.nets.recogniser import random_spans


def mouths(steps: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (steps, 64, 64)).astype(np.uint8)


def test_faster_talk_shows_the_same_pictures_sooner() -> None:
    steps = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 64, 64), np.uint8)
    faster = retimed(steps, 1.25, 32)
    assert faster[:, 0, 0].tolist() == pytest.approx((np.arange(32) * 1.25).tolist(), abs=0.6)
    assert retimed(steps, 1.0, 32)[:, 0, 0].tolist() == list(range(32))


def test_wear_keeps_size_and_number() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        worn = MouthWear.drawn(rng).applied(mouths(), rng)
        assert worn.shape == (12, 64, 64)
        assert worn.dtype == np.uint8


def test_the_inner_part_is_what_the_net_looks_at() -> None:
    whole = moved_mouths(mouths(), np.random.default_rng(3))
    inner = moved_mouths(mouths(), np.random.default_rng(3), INNER)
    assert inner.shape == (12, INNER_PX, INNER_PX)
    assert 0 <= inner.min() <= inner.max() <= 255
    cut = whole[:, INNER[0], INNER[1]]
    assert np.corrcoef(cut.ravel(), inner.ravel())[0, 1] > 0.9
    front = LipFront().eval()
    with torch.no_grad():
        seen = front(torch.from_numpy(whole[None]))
        assert torch.allclose(seen, front(torch.from_numpy(cut[None])), atol=1e-4)
        assert front(torch.from_numpy(whole[None, :7])).shape == (1, 7, 128)


def test_units_name_what_sounds_alike_whatever_the_microphone() -> None:
    rng = np.random.default_rng(0)
    shapes = rng.normal(0, 3, (4, 64))
    said = rng.integers(0, 4, 400)
    mel = (np.repeat(shapes[said], 4, 0) - 3 + rng.normal(0, 0.1, (1600, 64))).astype(np.float32)
    units = fit_units([mel], rounds=8)
    named = units.of(mel)
    assert named.shape == (400,)
    assert named.max() < UNITS
    assert not set(named[said == 0]) & set(named[said == 1])
    assert (units.of(mel + np.linspace(-2, 2, 64, dtype=np.float32)) == named).mean() > 0.95


def test_other_rooms_keep_the_timing() -> None:
    mels = np.full((20, 40, 64), -3, np.float32)
    mels[:, 20:] += 4
    worn = worn_mels(mels, np.random.default_rng(0))
    assert worn.shape == mels.shape
    assert np.isfinite(worn).all()
    assert (worn[:, 20:].mean((1, 2)) > worn[:, :20].mean((1, 2)) + 0.5).all()
    assert np.abs(worn - mels).mean() > 0.3


def test_an_alphabet_numbers_from_one() -> None:
    alphabet = Alphabet(["ab", "ca"])
    assert alphabet.characters == ["a", "b", "c"]
    assert alphabet.numbers("cab") == [3, 1, 2]


def test_spans_hide_about_the_share_that_is_asked() -> None:
    hidden = random_spans(40, 60, torch.Generator().manual_seed(0), 0.3)
    assert 0.15 < hidden.float().mean() < 0.4


@pytest.mark.pool
def test_no_held_back_clip_is_learned_from() -> None:
    try:
        pool: Path = pool_folder()
    except PoolError as error:
        pytest.skip(str(error))
    if not (cache_folder("talk") / "avspeech" / "index.npz").is_file():
        pytest.skip("no cache of talk; python -m export.train_audio_visual builds it")
    learned = {talk.row["file"] for talk in train_talk(pool)}
    held = [row["file"] for row in split_talk(load_talk(pool, "talk").rows)[1] + split_avspeech(load_talk(pool, "avspeech").rows)[1]]
    assert learned
    assert not learned & set(held)

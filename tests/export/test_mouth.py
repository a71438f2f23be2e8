"""What the texture over time is fitted on: fakes beside their own originals, nobody on both sides."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

from export.data.mouth_clips import MouthClip, MouthFold, mouth_folds
from export.nets.mouth import NUMBERS, MouthTexture, texture_over_time
from export.train_mouth import described, fitted
from export.training import auc
from tests.models.test_mouth_texture import talking

torch = pytest.importorskip("torch")


def numbers(seed: int, *, forged: bool = False) -> np.ndarray:
    """Of a person with skin of his own; forged: detail around the lips is drawn anew in every picture."""
    clip = talking(seed, 40, grain=2.0 + seed % 3)
    if forged:
        clip[:, 26:43, 17:47] += np.random.default_rng(seed).normal(0, 6, (40, 17, 30)).astype(np.float32)
    return texture_over_time(torch.from_numpy(clip)[None])[0].double().numpy()


def clip(seed: int, *, forged: bool = False) -> MouthClip:
    label = "fake" if forged else "real"
    row = {
        "file": f"{label}{seed}",
        "label": label,
        "pair": f"p{seed}",
        "generator": f"g{seed % 4}" * forged,
        "family": "lip-sync" * forged,
    }
    seen = numbers(seed, forged=forged)
    return MouthClip("wild", row, seen, seen + np.random.default_rng(seed).normal(0, 0.05, NUMBERS))


def test_it_learns_what_fakes_add_to_their_originals_and_finds_it_on_other_people():
    train = [clip(seed, forged=forged) for seed in range(60) for forged in (False, True)]
    held = [clip(seed, forged=forged) for seed in range(60, 80) for forged in (False, True)]
    fold = MouthFold(train, held)
    material = fold.material()
    assert len(material.pairs) == 60
    assert len(material.genuine) == 60
    found = described(fitted(fold), held)
    assert auc([each.score for each in found if not each.row.fake], [each.score for each in found if each.row.fake]) > 0.95
    assert all(each.original == f"real{each.row.clip[4:]}" for each in found if each.row.fake)


def test_a_fake_without_its_original_is_not_fitted_on():
    lonely = clip(7, forged=True)
    lonely.row["pair"] = "nobody"
    fold = MouthFold([clip(seed, forged=forged) for seed in range(5) for forged in (False, True)] + [lonely], [])
    assert len(fold.material().pairs) == 5


def test_the_net_says_nothing_of_itself_before_it_is_fitted():
    assert MouthTexture().read_out.weight.requires_grad is False


def test_the_folds_share_nobody():
    rows = [
        {
            "file": f"{n}.mp4",
            "label": "fake" if n % 2 else "real",
            "family": "lip-sync" if n % 2 else "",
            "generator": f"g{n % 7}" * (n % 2),
        }
        | {"group": f"person{n // 4}", "source": f"page{n // 8}", "pair": f"pair{n // 2}"}
        for n in range(160)
    ]
    clips = [MouthClip("wild", row, np.zeros(NUMBERS), None) for row in rows]
    talk = [MouthClip("talk", {"file": "t.mp4", "label": "real"}, np.zeros(NUMBERS), None)]
    for fold in mouth_folds([*clips, *talk], rows, [{"file": "t.mp4"}]):
        assert talk[0] in fold.train
        assert {each.folder for each in fold.held} == {"wild"}
        for tie in ("group", "source", "pair", "generator"):
            sides = [{each.row.get(tie, "") for each in side if each.folder == "wild"} - {""} for side in (fold.train, fold.held)]
            assert not sides[0] & sides[1], tie

"""The closed-form discriminants: they find what forgeries share, not what people differ in, and give the net what they found."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

import torch

from export.face_discriminants import put_in_discriminants
from export.fisher import LEAST_SPREAD, Material, Weights, discriminant
from export.nets.face import TEXTURE_NUMBERS, FaceNet, appearance, texture
from export.training import auc

NUMBERS = 12


def material(rng: np.random.Generator) -> Material:
    """Forgery moves number 3 by a little; people differ a lot in numbers 0 to 2, and a bad call moves number 4 as forgery does."""
    spread = np.array([20.0, 10.0, 5.0, *[1.0] * (NUMBERS - 3)])
    genuine = rng.normal(0, spread, (600, NUMBERS))
    forged = np.zeros(NUMBERS)
    forged[3], forged[4] = 1.0, 1.0
    pairs = forged + rng.normal(0, 0.3, (200, NUMBERS))
    worn = np.zeros((200, NUMBERS))
    worn[:, 4] = rng.normal(0, 30.0, 200)
    alone = genuine[:100] + forged + 5.0 * (np.arange(NUMBERS) == 5)
    more = 1.0 * (np.arange(NUMBERS) == 7) + rng.normal(0, 0.3, (300, NUMBERS))
    return Material(genuine, worn, pairs, ["a"] * 150 + ["b"] * 50, alone, ["c"] * 100, genuine, more)


def test_the_direction_is_the_forgerys_and_not_what_people_or_wear_differ_in():
    rng = np.random.default_rng(2)
    of = material(rng)
    weight, bias = discriminant(of, Weights(ridge=0.01))
    scores = of.genuine @ weight + bias
    assert scores.mean() == pytest.approx(0, abs=1e-6)
    assert scores.std() == pytest.approx(1, abs=1e-3)
    strength = np.abs(weight) * of.genuine.std(0)
    assert strength[3] > 3 * np.delete(strength, 3).max()
    unseen = rng.normal(0, of.genuine.std(0), (400, NUMBERS))
    assert auc(unseen @ weight, (unseen + of.pairs.mean(0)) @ weight) > 0.7


def test_wear_counts_against_a_number_and_forgeries_without_original_count_as_told():
    of = material(np.random.default_rng(3))
    blind, _ = discriminant(of, Weights(0.01, wear=0.0))
    warned, _ = discriminant(of, Weights(0.01, wear=1.0))
    assert abs(warned[4]) < 0.2 * abs(blind[4])
    without, _ = discriminant(of, Weights(0.01))
    with_alone, _ = discriminant(of, Weights(0.01, alone=0.5))
    assert with_alone[5] > without[5] + 0.1
    with_more, _ = discriminant(of, Weights(0.01, more=1.0))
    assert with_more[7] > without[7] + 0.1


def test_what_fakes_do_not_share_counts_less_the_more_their_unlikeness_weighs():
    of = material(np.random.default_rng(5))
    of.pairs[:, 8] += 1.0 + np.random.default_rng(6).normal(0, 2.0, len(of.pairs))
    alike, _ = discriminant(of, Weights(0.01, unlike=0.0))
    unlike, _ = discriminant(of, Weights(0.01, unlike=5.0))
    assert abs(unlike[8] / unlike[3]) < 0.3 * abs(alike[8] / alike[3])


def test_a_large_page_does_not_hide_what_pages_differ_in():
    of = material(np.random.default_rng(7))
    pages = ["large"] * 560 + [f"page {n}" for n in range(40)]
    of.genuine[560:, 3] += np.repeat([-6.0, 6.0], 20)
    each, _ = discriminant(of, Weights(0.01))
    even, _ = discriminant(replace(of, genuine_pages=pages), Weights(0.01))
    assert abs(even[3] / even[4]) < abs(each[3] / each[4])


def test_a_number_that_hardly_moves_gets_no_say():
    of = material(np.random.default_rng(4))
    dead = of.genuine * np.where(np.arange(NUMBERS) == 6, 1e-6, 1.0)
    weight, _ = discriminant(replace(of, genuine=dead, pairs=of.pairs * np.where(np.arange(NUMBERS) == 6, 1e-6, 1.0)), Weights(0.01))
    assert abs(weight[6]) * LEAST_SPREAD < 1.0


def test_texture_tells_flicker_from_stillness_and_stays_finite():
    face = torch.rand(2, 3, 128, 128) * 255
    still, lively = texture(face, face), texture(face, torch.rand(2, 3, 128, 128) * 255)
    assert still.shape == (2, TEXTURE_NUMBERS)
    changes = slice(1, None, 3)
    assert (lively[:, changes] > still[:, changes] + 1).all()
    assert torch.isfinite(texture(torch.zeros(1, 3, 128, 128), torch.full((1, 3, 128, 128), 255.0))).all()


def test_the_discriminants_land_in_the_net(cache):
    torch.manual_seed(0)
    net = FaceNet().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train = [i for i, row in enumerate(cache.rows) if row.pool != "devset"]
    put_in_discriminants(net, cache, train, seed=1)
    changed = {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"from_appearance", "from_texture"}
    assert net.from_appearance.in_features == appearance(*net.backbone(torch.zeros(1, 3, 128, 128))).shape[1]
    with torch.no_grad():
        shots = [
            torch.from_numpy(np.ascontiguousarray(c[:, 16:-16, 16:-16].transpose(0, 3, 1, 2).astype(np.float32)))
            for c in (cache.crops, cache.before)
        ]
        closed = net.from_texture(texture(*shots)).squeeze(1)
    assert torch.isfinite(closed).all()
    assert closed.std() > 0.1

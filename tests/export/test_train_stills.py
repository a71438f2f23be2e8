"""Fine-tuning on stills moves the backbone and leaves the closed forms alone; couples are drawn in the shares that were asked for."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

import torch

from export.data.face_couples import Couples, Mixture
from export.data.face_fold import fold_of
from export.face_objective import label_loss
from export.nets.face import FaceNet
from export.train_stills import MIXTURE, Tuned, loss_of_batch, optimiser_of
from export.training import backward


def test_a_step_moves_backbone_and_trunk_but_no_closed_form(cache):
    torch.manual_seed(3)
    net = Tuned(FaceNet(dropout=0.0)).train()
    batch = next(Couples(cache, fold_of(cache.rows, (), (), ()).train, np.random.default_rng(2), 0.0, MIXTURE).batches(2))
    before = {name: value.clone() for name, value in net.net.state_dict().items()}
    optimiser = optimiser_of(net)
    backward(loss_of_batch(net, batch))
    optimiser.step()
    moved = {name for name, value in net.net.state_dict().items() if not torch.equal(value, before[name])}
    assert {"backbone.first.weight", "stem.0.0.weight", "judge.1.weight"} <= moved
    assert not [name for name in moved if name.startswith(("from_appearance", "from_texture"))]


def test_the_backbone_learns_more_slowly_than_the_trunk():
    backbone, trunk = optimiser_of(Tuned(FaceNet())).param_groups
    assert backbone["peak"] < trunk["peak"]
    assert len(backbone["params"]) == len(list(FaceNet().backbone.parameters()))


def test_shares_of_kinds_are_kept(cache):
    train = fold_of(cache.rows, (), (), ()).train
    pairs = Couples(cache, train, np.random.default_rng(2), 0.0, Mixture(kinds={"pair": 1.0}, covered=0.0, stood_still=1.0))
    batch = next(pairs.batches(3))
    assert (batch.faces == batch.earlier).all()
    assert batch.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert sum(MIXTURE.kinds.values()) == pytest.approx(1)


def test_a_fake_below_its_original_costs_more():
    labels = torch.tensor([0.0, 1.0])
    assert label_loss(torch.tensor([1.0, -1.0]), labels) > label_loss(torch.tensor([-1.0, 1.0]), labels)

"""What the face net is asked for, on random crops: erased proposals, edges, and steps that lower the loss."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

import torch

from export.data.face_couples import Batch
from export.face_objective import ERASED_CELLS, ERASED_COUPLES, erase, loss_of
from export.nets.face import BlockConv, FaceNet, edges
from export.training import backward

COUPLES = 6


def batch(known_fakes: list[int]) -> Batch:
    rng = np.random.default_rng(1)
    faces = rng.uniform(0, 255, (2 * COUPLES, 3, 128, 128)).astype(np.float32)
    known = np.array([1] * COUPLES + known_fakes, np.float32)
    maps = np.zeros((2 * COUPLES, 16, 16), np.float32)
    maps[COUPLES:, 4:12, 4:12] = 1
    return Batch(faces, faces[:, :, ::-1].copy(), np.repeat(np.array([0, 1], np.float32), COUPLES), maps, known)


def test_only_fakes_with_a_label_alone_are_erased_with_their_counterparts():
    of = batch([1, 0, 1, 0, 1, 1])
    map_logits = torch.zeros(2 * COUPLES, 16, 16)
    map_logits[COUPLES + 1, 3:8, 3:8] = 5
    map_logits[COUPLES + 3, 9:14, 9:14] = 5
    erased = erase(of, map_logits)
    assert erased is not None
    assert erased.faces.shape == (4, 3, 128, 128)
    assert (erased.cells[:2] == erased.cells[2:]).all()
    assert erased.cells[2, 3:8, 3:8].all()
    assert (erased.cells.sum((1, 2)) >= ERASED_CELLS).all()
    gray = erased.cells.repeat_interleave(8, 1).repeat_interleave(8, 2).bool()
    for slot, place in enumerate((1, 3, COUPLES + 1, COUPLES + 3)):
        assert erased.faces[slot][:, gray[slot]].std(1).max() < 1e-3
        assert (erased.faces[slot][:, ~gray[slot]] == torch.from_numpy(of.faces[place])[:, ~gray[slot]]).all()


def test_where_every_map_is_known_nothing_is_erased():
    assert erase(batch([1] * COUPLES), torch.zeros(2 * COUPLES, 16, 16)) is None
    many = erase(batch([0] * COUPLES), torch.randn(2 * COUPLES, 16, 16))
    assert many is not None
    assert len(many.faces) == 2 * ERASED_COUPLES


@pytest.mark.parametrize("with_edges", [True, False])
def test_steps_with_erased_crops_lower_the_loss(with_edges):
    torch.manual_seed(1)
    net = FaceNet(dropout=0.0, edges=with_edges).train()
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    of, erased, losses = batch([0, 0, 1, 1, 1, 1]), None, []
    for _ in range(4):
        loss, map_logits = loss_of(net, of, erased)
        assert map_logits.shape == (2 * COUPLES, 16, 16)
        erased = erase(of, map_logits)
        optimiser.zero_grad()
        backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[1]
    assert FaceNet.like(net.state_dict()).load_state_dict(net.state_dict()) is not None


def test_a_lightened_net_says_the_same():
    torch.manual_seed(2)
    net = FaceNet().eval()
    faces = torch.from_numpy(batch([1] * COUPLES).faces[:2])
    with torch.no_grad():
        before = net(faces, faces.flip(2))
        net.lighten()
        after = net(faces, faces.flip(2))
    for one, same in zip(before, after, strict=True):
        torch.testing.assert_close(one, same, rtol=1e-4, atol=1e-4)


def test_a_convolution_over_blocks_is_one_over_unshuffled_pixels():
    torch.manual_seed(3)
    conv, x = BlockConv(5, 7), torch.randn(2, 5, 16, 16)
    plain = torch.nn.functional.conv2d(torch.nn.functional.pixel_unshuffle(x, 2), conv.weight, padding=1)
    torch.testing.assert_close(conv(x), plain, rtol=1e-4, atol=1e-5)


def test_edges_stand_where_brightness_steps_and_do_not_mind_contrast():
    step = torch.zeros(1, 3, 32, 32)
    step[..., 16:] = 1.0
    sobel = FaceNet().sobel
    found = edges(step, sobel)
    assert found.shape == (1, 1, 32, 32)
    assert found[0, 0, 4:-4, 15:17].min() > 10 * found[0, 0, 4:-4, 2:14].max()
    torch.testing.assert_close(edges(3 * step, sobel), found, rtol=0.05, atol=0.05)

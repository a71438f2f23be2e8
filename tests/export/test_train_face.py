"""The face net trains from a packed set alone: no pool, no caches, to the end of a short run that can be resumed."""

import io

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

import torch

from export.data.face_autoencoder import weights_path
from export.data.face_couples import Couples
from export.data.pack_records import face_records
from export.data.pool import PoolError
from export.face_material import DrawnCouples, batches_of, material_of_pack
from export.face_objective import erase, loss_of
from export.nets.face import Backbone, FaceNet, Inverted
from export.pack import AUTOENCODER, BACKBONE, write_pack
from export.train_face import main
from export.training import backward

HELD = {"wild/real1": 0, "wild/paired1": 0, "wild/real5": 0, "wild/paired5": 0, "wild/alone5": 0}


def keras_weights() -> bytes:
    """A backbone as it comes from its seed, under the names of Keras."""
    torch.manual_seed(6)
    net, saved = Backbone(), {}
    named = [("Conv1", "bn_Conv1", net.first), ("block_13_expand", "block_13_expand_BN", net.last)]
    for index, block in enumerate(net.blocks):
        assert isinstance(block, Inverted)
        for part, conv in block.named_children():
            name = f"block_{index}_{part}" if index else f"expanded_conv_{part}"
            named.append((name, f"{name}_BN", conv))
    for name, norm, conv in named:
        kind, order = ("depthwise_kernel", (2, 3, 0, 1)) if conv.groups > 1 else ("kernel", (2, 3, 1, 0))
        saved[f"{name}/{kind}"] = conv.weight.permute(order).numpy()
        for number, value in (("gamma", 1), ("beta", 0), ("moving_mean", 0), ("moving_variance", 1)):
            saved[f"{norm}/{number}"] = np.full(conv.out_channels, value, np.float32)
    out = io.BytesIO()
    np.savez(out, **saved)
    return out.getvalue()


@pytest.fixture
def pack(tmp_path, cache, untrained_autoencoder, monkeypatch):
    """A packed set of the made-up cache; what it was packed from cannot be reached any more."""
    path = tmp_path / "faces.pack"
    nets = {BACKBONE: keras_weights(), AUTOENCODER: weights_path().read_bytes()}
    write_pack(path, {"faces": face_records(cache, HELD, 1e9), "voices": [], "lips": []}, nets)
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("DEEPFAKE_POOL", str(tmp_path / "nowhere"))
    return path


def test_three_steps_from_a_pack(pack):
    material = material_of_pack(pack)
    assert {material.cache.rows[i].clip for i in material.fold.held} == {name.removeprefix("wild/") for name in HELD}
    assert not set(material.fold.train) & {*material.fold.held, *material.fold.held_stills}
    net, erased = FaceNet(), None
    net.backbone.load_keras(material.backbone)
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    batches = batches_of(DrawnCouples(material, [1, 0], 4, 0.25), 0)
    for _ in range(3):
        batch = next(batches)
        assert batch.faces.dtype == np.uint8
        loss, map_logits = loss_of(net, batch, erased)
        assert torch.isfinite(loss)
        erased = erase(batch, map_logits)
        optimiser.zero_grad()
        backward(loss)
        optimiser.step()


def test_other_processes_draw_what_this_one_would_with_their_seeds(pack):
    material = material_of_pack(pack)
    batches = batches_of(DrawnCouples(material, [1, 0], 2, 0.25), 2)
    first, second = next(batches), next(batches)
    assert (first.faces != second.faces).any()
    for worker, drawn in ((1, first), (2, second)):
        here = next(Couples(material.cache, material.fold.train, np.random.default_rng([1, 0, worker]), 0.25).batches(2))
        assert (here.faces == drawn.faces).all()
        assert (here.maps == drawn.maps).all()


def test_the_command_trains_from_a_pack_and_goes_on_later(pack, tmp_path, monkeypatch, capsys):
    torch.manual_seed(7)
    state = FaceNet().state_dict()
    torch.save(
        {"parts": {"average": {name: state[name] + 0.01 for name in state if name.startswith("from_appearance")}}}, tmp_path / "closed.pt"
    )
    for minutes in ("0.05", "0.1"):
        given = ["train_face", "--pack", str(pack), "--run", "x", "--couples", "2", "--minutes", minutes, "--device", "cpu"]
        monkeypatch.setattr("sys.argv", [*given, "--start-from", str(tmp_path / "closed.pt")])
        main()
    told = capsys.readouterr().out
    assert "resumed at 0.1 minutes" in told
    assert "--export-only --run x" in told
    kept = torch.load(tmp_path / "elsewhere" / "runs" / "x.pt", weights_only=False)
    assert kept["step"] >= 2
    assert kept["best_net"]


def test_a_pack_without_nets_says_what_to_do(tmp_path, cache):
    write_pack(tmp_path / "bare.pack", {"faces": face_records(cache, {}, 1e9), "voices": [], "lips": []}, {})
    with pytest.raises(PoolError, match=r"python -m export\.pack --renew faces"):
        material_of_pack(tmp_path / "bare.pack")

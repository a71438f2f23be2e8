"""The ear learns in its layers alone, comes back half-way, and hears each copy as it hears the original beside it."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

from export.data.pool import SoundStore  # noqa: E402
from export.data.voice_copies import Copies  # noqa: E402
from export.data.voice_sounds import BATCH_FAKES, BATCH_PAIRS, SoundDraw  # noqa: E402
from export.data.voices import Sounds, Voices  # noqa: E402
from export.small_weights import rounded  # noqa: E402
from export.voice_ear import Listener, half_way, loss_of  # noqa: E402
from export.voice_manner import ear_for  # noqa: E402
from monitor.errors import ConfigError  # noqa: E402
from tests.export.test_voice_manner import encoder  # noqa: E402

LENGTH = 12_800


def drawn(folder: Path, *, copied: bool = True) -> SoundDraw:
    """Two genuine clips, two generated ones, and one copy of each genuine clip that is exactly its original."""
    rng = np.random.default_rng(0)
    sounds = {f"{label}{i}": rng.normal(0, 0.1, 20_000).astype(np.float32) for label in ("real", "fake") for i in range(2)}
    rows = [{"file": name, "label": name[:-1], "generator": "g" * (name < "g"), "source": "page", "speaker": name} for name in sounds]
    genuine = [row for row in rows if row["label"] == "real"]
    copies = [row | {"file": f"sampled~{row['file']}", "label": "fake", "original": row["file"]} for row in genuine]
    SoundStore.write(folder / "all.i16", sounds.items())
    SoundStore.write(folder / "copies.i16", [(copy["file"], sounds[copy["original"]]) for copy in copies])
    store = Sounds(SoundStore(folder / "all.i16"))
    kept = Copies(copies if copied else [], [], {"signal": SoundStore(folder / "copies.i16")})
    return SoundDraw(Voices(rows, [], store, store), Voices([], [], store, store), kept, LENGTH, rng)


def test_a_copy_is_cut_and_roughened_as_the_original_beside_it(tmp_path: Path) -> None:
    draw = drawn(tmp_path)
    for _ in range(3):
        batch = draw.batch()
        assert batch.samples.shape == (2 * BATCH_FAKES + 2 * BATCH_PAIRS, LENGTH)
        assert torch.equal(batch.samples[-2 * BATCH_PAIRS : -BATCH_PAIRS], batch.samples[-BATCH_PAIRS:])
        assert batch.label.tolist() == [1.0] * BATCH_FAKES + [0.0] * (BATCH_FAKES + BATCH_PAIRS) + [1.0] * BATCH_PAIRS
        assert batch.rivals.all(), "all clips are of one source"
        assert torch.allclose(batch.samples.square().mean(1).sqrt(), torch.tensor(0.05), rtol=1e-3)


def test_the_loss_wants_fakes_above_their_rivals_and_copies_above_originals(tmp_path: Path) -> None:
    batch = drawn(tmp_path).batch()
    right = 2 * (2 * batch.label - 1)
    assert loss_of(right, batch) < loss_of(0 * right, batch) < loss_of(-right, batch)
    alone = drawn(tmp_path, copied=False).batch()
    assert alone.pairs == 0
    assert torch.isfinite(loss_of(torch.zeros(len(alone.label)), alone))


def test_layers_learn_and_the_stem_stays(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Listener(encoder())
    batch = drawn(tmp_path).batch()
    loss_of(net(batch.samples), batch).backward()
    moved = {name for name, weight in net.encoder.weights.items() if weight.grad is not None and weight.grad.abs().max() > 0}
    assert moved == {name for name in net.encoder.weights if name.startswith("layer")}


def test_the_ear_lies_half_way_on_levels_that_can_be_packed() -> None:
    start, trained = encoder(), encoder()
    trained.weights["layer1_up"].data += 0.3
    ear = half_way(start, trained).weights
    assert torch.allclose(ear["layer1_up"], start.weights["layer1_up"] + 0.15, atol=5e-3)
    assert torch.equal(ear["layer1_up"], rounded(dict(ear.items()))["layer1_up"])
    assert torch.allclose(ear["conv1"], start.weights["conv1"], atol=1e-6)


def test_a_family_is_not_judged_by_an_ear_that_heard_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="--encoder FILE --without 'conversion'"):
        ear_for(None, None, "conversion")

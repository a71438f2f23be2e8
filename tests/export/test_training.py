"""What the training scripts share does what it says."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("scipy", reason="scipy is not installed (pip install -e .[export])")

from export.nets.audio_visual import AudioVisualNet  # noqa: E402
from export.nets.voice import VoiceNet  # noqa: E402
from export.training import Average, Budget, Run, auc, best_of, learning_rate, matched_auc, prepare  # noqa: E402
from monitor.errors import ConfigError  # noqa: E402


def test_auc_counts_ties_half():
    assert auc([0, 1], [2, 3]) == 1.0
    assert auc([2, 3], [0, 1]) == 0.0
    assert auc([1, 1], [1]) == 0.5
    assert np.isnan(auc([], [1]))


def test_matched_auc_compares_only_what_looks_alike():
    looks_real, looks_fake = [[0.0], [10.0]], [[0.0], [10.0]]
    assert auc([0.0, 5.0], [1.0, 6.0]) == 0.75
    assert matched_auc([0.0, 5.0], [1.0, 6.0], looks_real, looks_fake) == (1.0, 2)


def test_a_run_resumes_where_it_stopped_and_keeps_its_best(tmp_path: Path):
    prepare(0)
    net = torch.nn.Linear(2, 1)
    average = Average(net)
    run = Run({"net": net, "average": average.net}, tmp_path / "run.pt")
    run.keep(Budget(1, 10.0, 5), 0.7, "good")
    good = average.net.weight.detach().clone()
    with torch.no_grad():
        net.weight += 1.0
    average.update(net)
    run.keep(Budget(1, 20.0, 9), 0.6, "worse")
    other = torch.nn.Linear(2, 1)
    again = Run({"net": other, "average": Average(other).net}, tmp_path / "run.pt")
    assert (again.spent_s, again.step, again.best, again.best_s) == (20.0, 10, 0.7, 10.0)
    assert torch.equal(other.weight, net.weight)
    best = torch.nn.Linear(2, 1)
    assert best_of(tmp_path / "run.pt", best)["history"] == [(10, 0.7), (20, 0.6)]
    assert torch.equal(best.weight, good)


def test_a_missing_run_is_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match="train first"):
        best_of(tmp_path / "none.pt", torch.nn.Linear(2, 1))


def test_the_rate_warms_up_and_falls():
    rates = [learning_rate(share, 1.0) for share in (0.0, 0.03, 0.5, 1.0)]
    assert rates[0] < rates[1] == pytest.approx(1.0)
    assert rates[1] > rates[2] > rates[3] > 0


def test_nets_take_any_length_and_stay_small():
    voice, both = VoiceNet().eval(), AudioVisualNet().eval()
    with torch.no_grad():
        assert [output.shape for output in voice(torch.zeros(2, 80, 256))] == [(2,), (2, 5)]
        labels, count, lips, heard, moments = both(torch.zeros(2, 20, 64, 64), torch.zeros(2, 80, 64), torch.ones(2), torch.zeros(2))
    assert labels.shape == (2, 2)
    assert count.shape == (2, 3)
    assert lips.shape == heard.shape == (2, 20, 64)
    assert moments.shape == (2, 20, 2)
    assert sum(p.numel() for p in voice.parameters()) < 500_000
    assert sum(p.numel() for p in both.parameters()) < 2_500_000

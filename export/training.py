"""What the training scripts share: seeds, a time budget, averaged weights, checkpoints that can be resumed, and the AUC."""

import copy
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from monitor.errors import ConfigError

Net = TypeVar("Net", bound=nn.Module)


def prepare(seed: int, threads: int = 1) -> np.random.Generator:
    """Fix every seed and the number of CPU threads; returns the generator that augmentation draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    return np.random.default_rng(seed)


def fast_on_cpu(net: Net) -> Net:
    """The same net with its weights laid out channels-last, which convolutions on a CPU like best."""
    moved: Net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


class Average(Generic[Net]):
    """Exponential moving average of a net's weights and buffers; `net` is the averaged copy, the one to judge and to export."""

    def __init__(self, net: Net, decay: float = 0.998) -> None:
        self.net: Net = copy.deepcopy(net).eval()
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        self._steps += 1
        keep = min(self._decay, self._steps / (self._steps + 10))
        for mine, new in zip(self.net.state_dict().values(), net.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(new, 1 - keep)
            else:
                mine.copy_(new)


class Budget:
    """Training time in minutes, over all resumed runs together. Iterate to get step numbers until it is spent."""

    def __init__(self, minutes: float, spent_s: float = 0.0, step: int = 0) -> None:
        self.total_s = minutes * 60
        self.spent_s = spent_s
        self.step = step

    @property
    def share(self) -> float:
        """0 at the start, 1 when the time is over: what a learning-rate schedule follows."""
        return min(self.spent_s / self.total_s, 1.0)

    def __iter__(self) -> Iterator[int]:
        last = time.monotonic()
        while self.spent_s < self.total_s:
            yield self.step
            self.step += 1
            now = time.monotonic()
            self.spent_s += now - last
            last = now


def learning_rate(share: float, peak: float) -> float:
    """Linear warm-up over the first 3 %, then a cosine down to 1 % of `peak`."""
    if share < 0.03:
        return peak * (0.05 + 0.95 * share / 0.03)
    return peak * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * (share - 0.03) / 0.97))))


def auc(genuine: ArrayLike, forged: ArrayLike) -> float:
    """Chance that a forged item scores above a genuine one (Mann–Whitney); NaN when one side is empty."""
    real, fake = np.sort(np.asarray(genuine, np.float64)), np.asarray(forged, np.float64)
    if not len(real) or not len(fake):
        return float("nan")
    below = np.searchsorted(real, fake, "left") + np.searchsorted(real, fake, "right")
    return float(below.mean() / (2 * len(real)))


def backward(loss: torch.Tensor) -> None:
    """`loss.backward()`, which torch leaves untyped."""
    loss.backward()  # type: ignore[no-untyped-call]


def matched_auc(
    genuine: ArrayLike, forged: ArrayLike, genuine_looks: ArrayLike, forged_looks: ArrayLike, caliper: float = 0.6
) -> tuple[float, int]:
    """AUC over pairs alike in every column of `*_looks` (within `caliper` standard deviations), and how many fakes have such a twin."""
    real, fake = np.asarray(genuine, np.float64), np.asarray(forged, np.float64)
    real_looks, fake_looks = np.asarray(genuine_looks, np.float64), np.asarray(forged_looks, np.float64)
    spread = np.concatenate([real_looks, fake_looks]).std(0)
    spread[spread == 0] = 1.0
    rates = []
    for score, looks in zip(fake, fake_looks, strict=True):
        twins = real[(np.abs(real_looks - looks) / spread < caliper).all(1)]
        if len(twins):
            rates.append(float(((score > twins) + 0.5 * (score == twins)).mean()))
    return (float(np.mean(rates)) if rates else float("nan")), len(rates)


class Run:
    """One training run on disk: everything that is needed to resume it, and the averaged net that did best on the held-back fold.

    `parts` maps names ("net", "average", "optimiser", …) to objects with `state_dict` and `load_state_dict`; "average" is the one to keep.
    """

    def __init__(self, parts: dict[str, Any], path: Path) -> None:
        self._parts, self._path = parts, path
        self.spent_s, self.step, self.best, self.best_s = 0.0, 0, -1.0, 0.0
        self.history: list[tuple[float, float]] = []
        self._best_net: dict[str, Any] = {}
        if path.is_file():
            state = torch.load(path, map_location="cpu", weights_only=False)
            for name, part in parts.items():
                part.load_state_dict(state["parts"][name])
            self.spent_s, self.step, self.best, self.best_s = state["spent_s"], state["step"], state["best"], state["best_s"]
            self.history, self._best_net = state["history"], state["best_net"]
            print(f"resumed at {self.spent_s / 60:.1f} minutes, best so far {self.best:.3f}", flush=True)

    def keep(self, budget: Budget, score: float, progress: str) -> None:
        """Write the state whole or not at all; remember the averaged net if `score` (higher is better) beats all before."""
        self.history.append((round(budget.spent_s), round(score, 4)))
        if score > self.best:
            self.best, self.best_s = score, budget.spent_s
            self._best_net = copy.deepcopy(self._parts["average"].state_dict())
        state = {name: part.state_dict() for name, part in self._parts.items()}
        record = {"parts": state, "spent_s": budget.spent_s, "step": budget.step + 1, "history": self.history}
        torch.save(record | {"best": self.best, "best_s": self.best_s, "best_net": self._best_net}, self._path.with_suffix(".part"))
        os.replace(self._path.with_suffix(".part"), self._path)
        print(
            f"{time.strftime('%H:%M:%S')} {budget.spent_s / 60:5.1f}/{budget.total_s / 60:g} min, {progress}, best {self.best:.3f}",
            flush=True,
        )


def best_of(path: Path, net: nn.Module) -> dict[str, Any]:
    """Load the best averaged weights of a run into `net`; returns the run's record (best, best_s, spent_s, step, history)."""
    if not path.is_file():
        raise ConfigError(f"no run in {path}; train first")
    record: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    net.load_state_dict(record["best_net"])
    net.eval()
    return record

"""Curves of the report as small SVG files. No pictures of people."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

Told = dict[str, Any]
COLOURS = {"audio": "#0072b2", "video": "#d55e00", "sync": "#009e73", "union": "#555555"}
STYLE: Any = {
    "svg.hashsalt": "deepfake-monitor",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def draw(numbers: Told, folder: Path) -> list[str]:
    """Writes evaluation_*.svg into `folder`; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with mpl.rc_context(STYLE):
        for name, figure in (("roc", _roc(numbers)), ("reliability", _reliability(numbers)), ("robustness", _robustness(numbers))):
            if figure is not None:
                file = f"evaluation_{name}.svg"
                figure.savefig(folder / file, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
                plt.close(figure)
                drawn.append(file)
    return drawn


def _judged(numbers: Told) -> dict[str, Told]:
    return {**numbers["overview"]["modalities"], "union": numbers["overview"]["union"]}


def _roc(numbers: Told) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.3))
    for axis, right in zip(axes, (1.0, 0.1), strict=True):
        for name, told in _judged(numbers).items():
            roc = told["roc"]
            if roc["found"]:
                axis.plot(roc["false_alarms"], roc["found"], color=COLOURS[name], label=f"{name}, AUC {told['auc'][0]:.3f}")
        axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
        axis.set(xlim=(0, right), ylim=(0, 1.01), xlabel="share of genuine clips called forged", ylabel="share of forged clips found")
    axes[0].legend(loc="lower right", fontsize=8)
    axes[1].set_title("the left tenth", fontsize=9)
    figure.tight_layout()
    return figure


def _reliability(numbers: Told) -> Any:
    figure, axis = plt.subplots(figsize=(3.6, 3.3))
    for name, told in _judged(numbers).items():
        if told["reliability"]:
            bins = told["reliability"]
            axis.plot([b["said"] for b in bins], [b["true"] for b in bins], "o-", markersize=3.5, color=COLOURS[name], label=name)
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="said: p_fake", ylabel="true: share forged")
    axis.legend(loc="upper left", fontsize=8)
    figure.tight_layout()
    return figure


def _robustness(numbers: Told) -> Any:
    if not numbers.get("robustness"):
        return None
    panels: list[tuple[str, str, list[Told]]] = []
    for modality in ("video", "audio"):
        points = numbers["robustness"][modality]["points"]
        calls = [point for point in points if point["name"].startswith("call: ")]
        others = [point for point in points if not point["name"].startswith("call: ")]
        if modality == "video":
            panels += [(modality, "pictures distorted", others), (modality, "pictures through a call", [others[0], *calls])]
        else:
            panels.append((modality, "sound", others))
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.7), sharey=True)
    for axis, (_, title, points) in zip(axes, panels, strict=True):
        _panel(axis, title, points)
    axes[0].set_ylabel("AUC")
    figure.tight_layout()
    return figure


def _panel(axis: Axes, title: str, points: list[Told]) -> None:
    clean = points[0]["auc"][0]
    names = list(dict.fromkeys(point["name"] for point in points[1:]))
    for colour, name in enumerate(names):
        mine = sorted((point["level"], point["auc"][0]) for point in points if point["name"] == name)
        levels = [0, *(level for level, _ in mine)]
        label = name.removeprefix("call: ")
        axis.plot(
            levels, [clean, *(value for _, value in mine)], "o-", markersize=3, color=mpl.colormaps["tab10"](colour % 10), label=label
        )
    axis.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
    axis.set(title=title, xlabel="level", ylim=(0.2, 1.02))
    axis.set_xticks(range(6))
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, columnspacing=1.0, handlelength=1.4)

"""Score a labelled folder with the shipped product: the same `scan` that a user runs, then AUC, matched AUC, errors and speed.

    python -m export.evaluate FOLDER [--models exported_models] [--markdown OUT.md]

FOLDER holds media and labels.csv with file, label_audio, label_video, label_sync (real, fake; anything else is left out), generator,
kind (derived clips count for sync only), duration_s, and nuisances n_* that must not decide. Matched AUC compares each forged clip only
with genuine ones alike in every nuisance (within 0.6 standard deviations).
"""

import argparse
import asyncio
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from rich.progress import Progress

from export.data.pool import Row, read_table
from export.training import auc, matched_auc
from monitor.alerts.policy import Policies
from monitor.inference.engine import Engine
from monitor.media import MODALITIES, Modality
from monitor.service.scan import scan_files

NUISANCES = {
    "video": ("n_sharp", "n_luma", "n_contrast", "n_satur", "n_motion"),
    "audio": ("n_level_db", "n_rolloff_hz", "n_noise_db"),
    "sync": (),
}
Result = dict[str, Any]


@dataclass
class Side:
    """Clips of one truth: scores, nuisances and generators of those that were judged, states of all."""

    scores: list[float] = field(default_factory=list)
    looks: list[list[float]] = field(default_factory=list)
    look_scores: list[float] = field(default_factory=list)
    generators: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    coverage: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, default=Path("exported_models"))
    parser.add_argument("--markdown", type=Path, help="also write the report there")
    options = parser.parse_args()
    rows = read_table(options.folder)
    results, took_s = scan(options.folder, rows, options.models)
    text = report(options.folder.name, rows, results, took_s)
    sys.stdout.write(text)
    if options.markdown:
        options.markdown.write_text(text)


def scan(folder: Path, rows: list[Row], models: Path) -> tuple[dict[str, Result], float]:
    """Results by file name, and the seconds it took with warm models."""
    engine = Engine.load(models)
    asyncio.run(engine.warm_up())
    policies = Policies.from_calibration(engine.calibration)
    started = monotonic()
    results: dict[str, Result] = {}
    with Progress() as progress:
        task = progress.add_task("scanning", total=len(rows))
        for result in scan_files([folder / row["file"] for row in rows], engine, policies):
            results[Path(result["source"]).name] = result
            progress.advance(task)
    return results, monotonic() - started


def report(name: str, rows: list[Row], results: dict[str, Result], took_s: float) -> str:
    """Markdown: one table over the modalities, one over generators, and the offsets of shifted clips."""
    media_s = sum(float(row["duration_s"]) for row in rows)
    unread = [row["file"] for row in rows if "error" in results[row["file"]]]
    lines = [
        f"# {name}: {len(rows)} clips, {media_s:.0f} s",
        "",
        f"Scanned in {took_s:.0f} s, {media_s / took_s:.1f} × real time. Not readable: {len(unread)}.",
        "",
        "| modality | AUC | 95 % | matched AUC | forged with a twin | genuine called fake | forged called fake | not judged | coverage |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    generators: list[str] = []
    for modality in MODALITIES:
        real, fake = sides(modality, rows, results)
        if real.states or fake.states:
            lines.append(_row(modality, real, fake))
            generators += _by_generator(modality, real, fake)
    lines += ["", "| modality | generator | forged | AUC against all genuine |", "|---|---|---|---|", *generators, ""]
    shifted = [row for row in rows if row.get("label_sync") == "shift"]
    if shifted:
        lines += [
            f"Shifted clips: offset right within 40 ms in {sum(_offset_right(row, results) for row in shifted)} of {len(shifted)}.",
            "",
        ]
    return "\n".join(lines)


def sides(modality: Modality, rows: list[Row], results: dict[str, Result]) -> tuple[Side, Side]:
    """(genuine, forged) clips of one modality."""
    both = {"real": Side(), "fake": Side()}
    for row in rows:
        side = both.get(row.get(f"label_{modality}", ""))
        result = results[row["file"]]
        if side is None or "error" in result or (modality != "sync" and row.get("kind") == "derived"):
            continue
        verdict = result["verdicts"][modality]
        side.states[verdict["state"]] += 1
        side.coverage.append(verdict["coverage"])
        if verdict["p_fake"] is None:
            side.reasons[verdict["reason"]] += 1
            continue
        side.scores.append(verdict["p_fake"])
        side.generators.append(row.get("generator") or "?")
        looks = [row.get(nuisance, "") for nuisance in NUISANCES[modality]]
        if looks and all(looks):
            side.looks.append([float(look) for look in looks])
            side.look_scores.append(verdict["p_fake"])
    return both["real"], both["fake"]


def _row(modality: Modality, real: Side, fake: Side) -> str:
    low, high = interval(real.scores, fake.scores)
    same, twins = (float("nan"), 0)
    if real.looks and fake.looks:
        same, twins = matched_auc(real.look_scores, fake.look_scores, real.looks, fake.looks)
    reasons = ", ".join(f"{reason} {count}" for reason, count in (real.reasons + fake.reasons).most_common()) or "0"
    return (
        f"| {modality} | {auc(real.scores, fake.scores):.3f} | {low:.3f}–{high:.3f} | {same:.3f} | {twins} "
        f"| {real.states['fake']}/{real.states.total()} | {fake.states['fake']}/{fake.states.total()} "
        f"| {reasons} | {np.mean(real.coverage + fake.coverage):.2f} |"
    )


def _by_generator(modality: Modality, real: Side, fake: Side) -> list[str]:
    scores: dict[str, list[float]] = defaultdict(list)
    for generator, score in zip(fake.generators, fake.scores, strict=True):
        scores[generator].append(score)
    return [f"| {modality} | {name} | {len(each)} | {auc(real.scores, each):.3f} |" for name, each in sorted(scores.items())]


def interval(real: list[float], fake: list[float], draws: int = 400) -> tuple[float, float]:
    """95 % bootstrap interval of the AUC over clips."""
    rng = np.random.default_rng(7)
    drawn = [auc(rng.choice(real, len(real)), rng.choice(fake, len(fake))) for _ in range(draws)] if real and fake else [float("nan")]
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def _offset_right(row: Row, results: dict[str, Result]) -> bool:
    """Against the measured offset of the clip it was made from (`shift_NAME` of `NAME`), as each transport has its own."""
    wanted_ms = float(row["generator"].split()[1])
    base = results.get(row["file"].split("_", 1)[1], {}).get("verdicts", {}).get("sync", {}).get("offset_ms") or 0.0
    found = results[row["file"]].get("verdicts", {}).get("sync", {}).get("offset_ms")
    return found is not None and abs(found - base - wanted_ms) <= 40


if __name__ == "__main__":
    main()

"""Sources through the shipped product: monitor's own pipeline, engine and thresholds, nothing of them rebuilt here."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from export.data.layouts import LabelledClip
from export.evaluation.metrics import Scores
from export.evaluation.sources import Track, collect, file_source
from monitor.alerts.policy import Policies
from monitor.alerts.summary import Summary
from monitor.errors import MonitorError
from monitor.inference.engine import Engine
from monitor.media import Alert, MediaItem, Modality, Score, Verdict
from monitor.pipeline import watch
from monitor.service.scan import result_of
from monitor.sources import Source


@dataclass(frozen=True)
class Judgement:
    """What the product said: `result` as `scan` prints it (empty after an `error`), and the incidents that it opened. `compared`: the
    scores of sync that compared a voice with a face.
    """

    result: dict[str, Any]
    opened: tuple[Alert, ...] = ()
    error: str = ""
    compared: tuple[Score, ...] = ()

    def p(self, modality: Modality) -> float | None:
        return None if self.error else self.result["verdicts"][modality]["p_fake"]

    def state(self, modality: Modality) -> str:
        return "unreadable" if self.error else str(self.result["verdicts"][modality]["state"])


Key = TypeVar("Key")
USUAL_HZ = 25.0
Judged = Sequence[tuple[LabelledClip, Judgement]]


class Product:
    """The models of one folder, warm, with their thresholds. Use it in a `with` statement."""

    def __init__(self, models: Path) -> None:
        self.engine = Engine.load(models)
        self.policies = Policies.from_calibration(self.engine.calibration)
        self._runner = asyncio.Runner()

    def __enter__(self) -> "Product":
        self._runner.__enter__()
        self._runner.run(self.engine.warm_up())
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._runner.__exit__(kind, value, trace)

    def wait_for(self, work: Any) -> Any:
        return self._runner.run(work)

    def judge(self, source: Source, name: str) -> Judgement:
        return self._runner.run(self._judge(source, name))

    async def _judge(self, source: Source, name: str) -> Judgement:
        summary, opened, started = Summary(self.policies), [], monotonic()
        compared: list[Score] = []

        def keep(score: Score) -> None:
            summary.score(score)
            if score.modality == "sync" and score.reason is None:
                compared.append(score)

        def note(stream: str, event: object) -> None:
            if isinstance(event, Verdict | Alert):
                summary.event(event)
            if isinstance(event, Alert) and event.kind == "opened":
                opened.append(event)

        try:
            await watch(name, source, self.engine, self.policies, note, live=False, on_score=keep)
        except MonitorError as error:
            return Judgement({}, error=str(error))
        return Judgement(result_of(name, summary, self.engine, monotonic() - started), tuple(opened), compared=tuple(compared))

    def judge_ways(
        self, clips: Sequence[LabelledClip], track: Track, ways: Mapping[Key, "Way"], until_s: float, what: str
    ) -> dict[Key, list[tuple[LabelledClip, Judgement]]]:
        """One track of each clip, read once (25 pictures a second at most, before `until_s`) and judged in every way.

        Clips that cannot be read or lack the track are left out.
        """
        judged: dict[Key, list[tuple[LabelledClip, Judgement]]] = {key: [] for key in ways}
        with progress_bar() as bar:
            task = bar.add_task(what, total=len(clips) * len(ways))
            for number, clip in enumerate(clips):
                try:
                    items = self.wait_for(collect(file_source(clip.path), track, until_s, USUAL_HZ))
                except MonitorError:
                    items = []
                for key, way in ways.items():
                    if len(items) > 1:
                        judged[key].append((clip, self.judge(way(items, np.random.default_rng(number)), clip.path.name)))
                    bar.advance(task)
        return judged

    def judge_all(self, clips: Iterable[LabelledClip], what: str, source: Callable[[LabelledClip], Source] | None = None) -> Judged:
        """Each clip through `source` (default: its file), with a progress bar."""
        chosen = list(clips)
        with progress_bar() as bar:
            task = bar.add_task(what, total=len(chosen))
            found = []
            for clip in chosen:
                found.append((clip, self.judge(source(clip) if source else file_source(clip.path), clip.path.name)))
                bar.advance(task)
        return found


Way = Callable[[list[MediaItem], np.random.Generator], Source]
"""What is done to one track's items; the generator is seeded by the clip's number."""


def progress_bar() -> Progress:
    """On stderr: stdout is for the report."""
    columns = TextColumn("{task.description:36}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True))


def scores_of(judged: Judged, modality: Modality, looks: Sequence[str] = ()) -> Scores:
    """The clips of known label that were judged. `looks`: columns of `nuisances` to match on; a clip that lacks one gets NaN."""
    rows = [(clip, p) for clip, said in judged if counts(clip, modality) and (p := said.p(modality)) is not None]
    return Scores.of(
        [p for _, p in rows],
        [clip.label(modality) == "fake" for clip, _ in rows],
        [clip.group for clip, _ in rows],
        [[clip.nuisances.get(name, float("nan")) for name in looks] for clip, _ in rows] if looks else None,
    )


def counts(clip: LabelledClip, modality: Modality) -> bool:
    return clip.label(modality) in ("real", "fake") and (modality == "sync" or not clip.derived)


def union_label(clip: LabelledClip) -> str:
    """ "fake" when any track is known to be forged, "real" when all that is known is genuine, "" when nothing is."""
    labels = {clip.label_audio, clip.label_video}
    return "fake" if "fake" in labels else "real" if "real" in labels else ""


def union_p(said: Judgement) -> float | None:
    """1 − (1 − p_audio)(1 − p_video) over what was judged: the chance that anything is forged (arXiv 2307.14491)."""
    known = [p for p in (said.p("audio"), said.p("video")) if p is not None]
    if not known:
        return None
    left = 1.0
    for p in known:
        left *= 1 - p
    return 1 - left


def union_scores(judged: Judged) -> Scores:
    rows = [(clip, p) for clip, said in judged if union_label(clip) and not clip.derived and (p := union_p(said)) is not None]
    return Scores.of([p for _, p in rows], [union_label(clip) == "fake" for clip, _ in rows], [clip.group for clip, _ in rows])


def balanced(clips: Iterable[LabelledClip], modality: Modality, count: int, seed: int = 3) -> list[LabelledClip]:
    """About `count` clips of known label, half of them forged, spread over generators and groups; the same ones every time."""
    chosen: list[LabelledClip] = []
    for label in ("real", "fake"):
        shelves: dict[str, list[LabelledClip]] = {}
        for clip in clips:
            if counts(clip, modality) and clip.label(modality) == label:
                shelves.setdefault(clip.generator or clip.source or clip.group, []).append(clip)
        rng = random.Random(seed)
        for shelf in shelves.values():
            rng.shuffle(shelf)
        turns = sorted((turn, name) for name, shelf in shelves.items() for turn in range(len(shelf)))
        chosen += [shelves[name][turn] for turn, name in turns[: count // 2]]
    return chosen

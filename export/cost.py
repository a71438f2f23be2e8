"""CPU milliseconds that each stage spends on one second of a call, on one thread, against the goal of 20 for everything but decoding.

    python -m export.cost FILE… [--models exported_models] [--rounds 3]

All stages run in one thread, so that nothing overlaps; what a network or a page would add is not in it. Decoding includes the colours of
pictures that are looked at. Of several rounds each stage's least counts: a busy machine only ever adds. Short clips cost more than a
call, since each has a first and a last look.
"""

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from export.command_line import Arguments, command, count
from monitor.alerts.incidents import Incidents
from monitor.alerts.policy import Policies
from monitor.alerts.speakers import Speakers
from monitor.errors import SourceError
from monitor.faces.detect import FaceDetector
from monitor.faces.watch import FaceWatcher
from monitor.inference.detectors import Detectors
from monitor.inference.engine import JUDGES, Engine
from monitor.inference.session import Arrays, Model
from monitor.media import AudioChunk, FrameFaces, Luma, MediaInfo, MediaItem, Picture, VideoFrame
from monitor.pipeline import FILE_PATIENCE_S
from monitor.sources.demux import Tracks, read_file
from monitor.sources.opening import explain_file, open_file
from monitor.speech.vad import speech_marks
from monitor.windows import Windows

GOAL_MS = 20.0
STAGES = ("decode and convert", "face_detector", "crops and tracks", "windows and speech", *JUDGES, "inputs of models", "evidence")


class Costs:
    """CPU seconds by stage. Stages may nest: the inner one's time is not the outer one's."""

    def __init__(self) -> None:
        self.spent_s: defaultdict[str, float] = defaultdict(float)
        self._inner_s = [0.0]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began_s = process_time()
        self._inner_s.append(0.0)
        yield
        took_s = process_time() - began_s
        self.spent_s[name] += took_s - self._inner_s.pop()
        self._inner_s[-1] += took_s

    def model(self, name: str, model: Model) -> Callable[[Arrays], dict[str, NDArray[np.float32]]]:
        def run(inputs: Arrays) -> dict[str, NDArray[np.float32]]:
            with self.stage(name):
                return model.run(inputs)

        return run


@dataclass(frozen=True)
class Shown:
    """A picture whose conversion counts as decoding, whoever asks for it."""

    picture: Picture
    costs: Costs

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.picture.size_wh

    @property
    def rgb(self) -> NDArray[np.uint8]:
        with self.costs.stage("decode and convert"):
            return self.picture.rgb

    @property
    def luma(self) -> Luma:
        return self.picture.luma  # as decoded, with next to no work


@command
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Arguments(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--models", type=Path, default=Path("exported_models"))
    parser.add_argument("--rounds", type=count, default=3)
    options = parser.parse_args(arguments)
    media_s, rows = measured(options.files, options.models, options.rounds)
    print(f"{len(options.files)} files, {media_s:.1f} s; CPU milliseconds for a second of it, one thread")
    judging_ms = without_decoding(rows)
    for name, ms in [*rows.items(), ("without decoding", judging_ms)]:
        print(f"{name:20} {ms:6.2f}")
    print(f"goal {GOAL_MS:.0f}: {'met' if judging_ms <= GOAL_MS else f'missed by {judging_ms - GOAL_MS:.1f}'}")


def measured(files: Sequence[Path], folder: Path, rounds: int) -> tuple[float, dict[str, float]]:
    """Seconds of media, and by stage the milliseconds that one second of it takes. Raises MonitorError."""
    engine = Engine.load(folder)
    asyncio.run(engine.warm_up())
    spent_ms, media_s = dict.fromkeys(STAGES, 0.0), 0.0
    for path in files:
        costs = [Costs() for _ in range(rounds)]
        try:
            lengths_s = [asyncio.run(spend(path, engine, each)) for each in costs]
        except (av.FFmpegError, OSError, ValueError):
            raise explain_file(str(path)) from None
        media_s += lengths_s[0]
        for name in STAGES:
            spent_ms[name] += 1000 * min(each.spent_s[name] for each in costs)
    if not media_s:
        raise SourceError(f"{', '.join(map(str, files))}: holds neither sound nor pictures; give a recording")
    return media_s, {name: spent / media_s for name, spent in spent_ms.items()}


def without_decoding(rows: dict[str, float]) -> float:
    return sum(rows.values()) - rows["decode and convert"]


async def spend(path: Path, engine: Engine, costs: Costs) -> float:
    """Take a file through all stages as it is decoded; returns its seconds."""
    run = {name: costs.model(name, engine.model(name)) for name in ("face_detector", *JUDGES)}
    cutter = Windows(speech_marks, FILE_PATIENCE_S)
    watcher = FaceWatcher(FaceDetector(lambda picture: run["face_detector"]({"input": picture})), part_from=cutter.part_from)
    detectors = Detectors({name: _later(run[name]) for name in JUDGES}, engine.calibration)
    policies = Policies.from_calibration(engine.calibration)
    speakers, incidents = Speakers(policies.sync_calibration), Incidents("call", policies)
    waiting: list[VideoFrame] = []
    end_s = 0.0

    async def cut(items: Sequence[MediaInfo | AudioChunk | FrameFaces], *, last: bool = False) -> None:
        nonlocal end_s
        with costs.stage("windows and speech"):
            windows = [window for item in items for window in cutter.add(item)] + (cutter.flush() if last else [])
        for window in windows:
            end_s = max(end_s, window.end_s)
            with costs.stage("inputs of models"):
                scores = await detectors.judge(window)
            with costs.stage("evidence"):
                incidents.add(speakers.of(scores))

    for item in _decoded(path, costs):
        if isinstance(item, MediaInfo | AudioChunk):
            await cut([item])
        elif isinstance(item, VideoFrame):
            waiting.append(replace(item, picture=Shown(item.picture, costs)))
            if item.time_s >= watcher.next_look_s:
                with costs.stage("crops and tracks"):
                    found = watcher.add_all(waiting)
                waiting.clear()
                await cut(found)
    with costs.stage("crops and tracks"):
        found = watcher.add_all(waiting) + watcher.flush()
    await cut(found, last=True)
    return end_s


def _decoded(path: Path, costs: Costs) -> Iterator[MediaItem]:
    """What is in the file, decoded by this thread alone when it is asked for."""
    with open_file(str(path), str(path)) as container:
        batches = read_file(container, Tracks(container, low_delay=True))
        while True:
            with costs.stage("decode and convert"):
                batch = next(batches, None)
            if batch is None:
                return
            yield from batch


def _later(run: Callable[[Arrays], dict[str, NDArray[np.float32]]]) -> Callable[[Arrays], Any]:
    async def awaited(inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        return run(inputs)

    return awaited


if __name__ == "__main__":
    main()

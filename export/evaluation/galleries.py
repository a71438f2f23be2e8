"""Several faces in one picture (see `export.data.galleries`): what opens falsely, which dubs are noticed, who is taken for the speaker."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

from export.data.made_calls import MadeCall, read_calls
from export.evaluation.calls import stretch_of
from export.evaluation.judging import Judgement, Product, progress_bar
from export.evaluation.sources import file_source
from export.evaluation.spans import Stretch, delays_s, false_ones
from monitor.media import MODALITIES, Modality

Told = dict[str, Any]
Box = tuple[float, float, float, float]
Scanned = tuple[MadeCall, Judgement, float]
"""A call, what was said of it, and the seconds of CPU that this took."""


def several_faces(product: Product, folder: Path, most: int) -> Told:
    """The first `most` calls of the folder by kind and, for what they cost, by the number of faces. Raises PoolError without calls."""
    scanned: list[Scanned] = []
    calls = read_calls(folder, "--galleries")[:most]
    with progress_bar() as bar:
        task = bar.add_task("galleries", total=len(calls))
        for call in calls:
            began_s = process_time()
            said = product.judge(file_source(call.path), call.path.name)
            scanned.append((call, said, process_time() - began_s))
            bar.advance(task)
    scanned = [each for each in scanned if not each[1].error]
    kinds, crowds = defaultdict[str, list[Scanned]](list), defaultdict[int, list[Scanned]](list)
    for each in scanned:
        kinds[each[0].kind].append(each)
        crowds[each[0].faces].append(each)
    return {
        "calls": len(scanned),
        "unreadable": len(calls) - len(scanned),
        "media_s": _media_s(scanned),
        "kinds": {kind: of_kind(some) for kind, some in kinds.items()},
        "all": of_kind(scanned),
        "cpu_ms": {faces: 1000 * sum(cpu_s for *_, cpu_s in some) / _media_s(some) for faces, some in sorted(crowds.items())},
    }


def of_kind(scanned: Sequence[Scanned]) -> Told:
    """Counts over some calls. `right`: stretches in which the voice was compared with the face that spoke, of all `compared` while somebody
    did. A dub is noticed when an incident about its seconds names the face that speaks.
    """
    right = [hit for call, said, _ in scanned for hit in speaker_hits(call, said)]
    dubbed = [_noticed(call, said) for call, said, _ in scanned if call.segments]
    states = [said.state("sync") for _, said, _ in scanned]
    return {
        "calls": len(scanned),
        "media_s": _media_s(scanned),
        "false": {modality: sum(_false(call, said, modality) for call, said, _ in scanned) for modality in MODALITIES},
        "suspicious": {modality: sum(said.state(modality) == "suspicious" for _, said, _ in scanned) for modality in MODALITIES},
        "not_judged": states.count("insufficient"),
        "coverage": sum(said.result["verdicts"]["sync"]["coverage"] for _, said, _ in scanned) / max(len(scanned), 1),
        "dubbed": len(dubbed),
        "noticed": sum(dubbed),
        "compared": len(right),
        "right": sum(right),
    }


def speaker_hits(call: MadeCall, said: Judgement) -> list[bool]:
    """For each stretch of sync that somebody spoke in, whether the face that was named lies in the tile of whoever spoke longest."""
    boxes = {track["track_id"]: track["box_xyxy"] for track in said.result["tracks"]}
    hits = []
    for score in said.compared:
        seconds: dict[Box | None, float] = defaultdict(float)
        for turn in call.turns:
            seconds[turn.box_xyxy] += max(0.0, min(score.end_s, turn.end_s) - max(score.start_s, turn.start_s))
        tile = max(seconds, key=lambda box: seconds[box], default=None)
        if seconds.get(tile, 0.0) > 0:
            hits.append(tile is not None and score.track_id in boxes and _inside(boxes[score.track_id], tile))
    return hits


def _inside(face: Sequence[float], tile: Box) -> bool:
    x, y = (face[0] + face[2]) / 2, (face[1] + face[3]) / 2
    return tile[0] <= x <= tile[2] and tile[1] <= y <= tile[3]


def _truth(call: MadeCall, modality: Modality) -> list[Stretch]:
    return [Stretch(call.path.name, each.start_s, each.end_s) for each in call.segments if each.modality == modality]


def _false(call: MadeCall, said: Judgement, modality: Modality) -> int:
    opened = [stretch_of(call.path.name, alert) for alert in said.opened if alert.modality == modality]
    return len(false_ones(_truth(call, modality), opened))


def _noticed(call: MadeCall, said: Judgement) -> bool:
    boxes = {track["track_id"]: track["box_xyxy"] for track in said.result["tracks"]}
    tiles = [turn.box_xyxy for turn in call.turns if turn.box_xyxy is not None]
    about = [
        stretch_of(call.path.name, alert)
        for alert in said.opened
        if alert.modality == "sync" and alert.track_id in boxes and any(_inside(boxes[alert.track_id], tile) for tile in tiles)
    ]
    return bool(delays_s(_truth(call, "sync"), about))


def _media_s(scanned: Sequence[Scanned]) -> float:
    return float(sum(said.result["duration_s"] for _, said, _ in scanned))

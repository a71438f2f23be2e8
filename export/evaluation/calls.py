"""Longer calls: which seconds are forged, how late that is told, and how often nothing is wrong and an incident opens all the same."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.data.layouts import LabelledClip, Span, label_of
from export.data.made_calls import read_calls
from export.evaluation.judging import Judged, Product, progress_bar
from export.evaluation.sources import Chained, file_source
from export.evaluation.spans import IOUS, Stretch, average_precision_at, average_recall_at, delays_s, false_ones, per_hour
from monitor.media import MODALITIES, Alert, Modality

Told = dict[str, Any]
AMONG = (1, 5, 10)
NOT_JUDGED: dict[Modality, tuple[str, ...]] = {"sync": ("frozen",)}
"""Kinds that the product abstains from by design: a picture that stands still beside a voice is the commonest fault of an honest call."""


def segments(judged: Judged) -> Told:
    """What the product's incidents say about the forged seconds of clips that know theirs."""
    told: Told = {
        "clips": len(judged),
        "media_s": sum(said.result.get("duration_s", 0.0) for _, said in judged),
        "modalities": {},
    }
    for modality in MODALITIES:
        known = [(clip, said) for clip, said in judged if clip.label(modality)]  # lips that were swapped may fit the voice or not
        if any(span.modality == modality for clip, _ in known for span in clip.segments):
            told["modalities"][modality] = _of_modality(known, modality)
            if rest := _judged_by_design(known, modality):
                told.setdefault("by_design", {})[f"{modality} without {', '.join(NOT_JUDGED[modality])}"] = _of_modality(rest, modality)
            if kinds := _noticed_by_kind(known, modality):
                told.setdefault("kinds", {})[modality] = kinds
    return told


def _of_modality(judged: Judged, modality: Modality) -> Told:
    truth = _truth(judged, modality)
    said = [
        Stretch(clip.path.name, segment["start_s"], segment["end_s"], segment["p_fake"])
        for clip, judgement in judged
        for segment in judgement.result.get("segments", ())
        if segment["modality"] == modality
    ]
    opened = _opened(judged, modality)
    late = delays_s(truth, opened)
    return {
        "clips": len(judged),
        "forged_stretches": len(truth),
        "said": len(said),
        "ap": {str(iou): average_precision_at(truth, said, iou) for iou in IOUS},
        "ar": {str(count): average_recall_at(truth, said, count) for count in AMONG},
        "noticed": len(late),
        "delay_s": {"median": float(np.median(late)), "p90": float(np.quantile(late, 0.9))} if late else None,
        "false": len(false_ones(truth, opened)),
    }


def _judged_by_design(judged: Judged, modality: Modality) -> Judged:
    """Without the clips of kinds that are not judged; none where there are no such clips."""
    rest = [(clip, said) for clip, said in judged if not any(span.kind in NOT_JUDGED.get(modality, ()) for span in clip.segments)]
    return rest if len(rest) < len(judged) else []


def _truth(judged: Judged, modality: Modality, kind: str | None = None) -> list[Stretch]:
    """Forged stretches of one kind, of all kinds when it is None."""
    spans = [(clip.path.name, span) for clip, _ in judged for span in clip.segments if span.modality == modality]
    return [Stretch(name, span.start_s, span.end_s) for name, span in spans if kind in (None, span.kind)]


def _opened(judged: Judged, modality: Modality) -> list[Stretch]:
    return [stretch_of(clip.path.name, alert) for clip, judgement in judged for alert in judgement.opened if alert.modality == modality]


def stretch_of(file: str, alert: Alert) -> Stretch:
    """Which seconds an incident is about, as known when it opened."""
    return Stretch(file, alert.since_s, max(alert.time_s, alert.since_s + 1e-3), alert.p_fake, alert.time_s)


def _noticed_by_kind(judged: Judged, modality: Modality) -> dict[str, list[int]]:
    """How many stretches of each kind are noticed, of how many."""
    count = Counter(span.kind for clip, _ in judged for span in clip.segments if span.modality == modality and span.kind)
    opened = _opened(judged, modality)
    return {kind: [len(delays_s(_truth(judged, modality, kind), opened)), of] for kind, of in sorted(count.items())}


def read_made_calls(folder: Path) -> list[LabelledClip]:
    """The calls of `export.data.made_calls` as rows with segments."""
    return [
        LabelledClip(
            path=call.path,
            label_audio=label_of(call.labels["audio"]),
            label_video=label_of(call.labels["video"]),
            label_sync=label_of(call.labels["sync"]),
            segments=tuple(
                Span(m, each.start_s, each.end_s, each.kind) for each in call.segments for m in MODALITIES if m == each.modality
            ),
            group=call.speaker,
        )
        for call in read_calls(folder)
    ]


def false_incidents(product: Product, genuine: Sequence[LabelledClip], call_s: float, most_s: float) -> Told:
    """Genuine clips chained into calls of about `call_s`, one page's people after each other, judged as a call is; `most_s` in all."""
    by_source: dict[str, list[LabelledClip]] = defaultdict(list)
    for clip in genuine:
        by_source[clip.source or clip.group].append(clip)
    queues = [list(clips) for _, clips in sorted(by_source.items())]
    counted: dict[str, int] = dict.fromkeys(MODALITIES, 0)
    judged_s: dict[str, float] = dict.fromkeys(MODALITIES, 0.0)
    heard_s, calls = 0.0, 0
    with progress_bar() as bar:
        task = bar.add_task("genuine calls, seconds", total=round(most_s))
        while heard_s < most_s and any(queues):
            queues = [queue for queue in queues if queue]
            queue = queues[calls % len(queues)]
            taken, queue[:] = queue[: max(1, round(call_s / 3))], queue[max(1, round(call_s / 3)) :]
            said = product.judge(Chained([file_source(clip.path) for clip in taken]), f"call {calls}")
            calls += 1
            if said.error:
                continue
            heard_s += said.result["duration_s"]
            for modality in MODALITIES:
                counted[modality] += sum(alert.modality == modality for alert in said.opened)
                judged_s[modality] += said.result["verdicts"][modality]["coverage"] * said.result["duration_s"]
            bar.update(task, completed=min(round(heard_s), round(most_s)))
    return {
        "calls": calls,
        "media_s": heard_s,
        "modalities": {
            m: {"incidents": counted[m], "judged_s": judged_s[m], "per_hour": list(per_hour(counted[m], judged_s[m]))} for m in MODALITIES
        },
    }

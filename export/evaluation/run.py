"""All sections in order, each timed, with a reason in the place of one that cannot run."""

import json
import logging
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

from export.cost import measured, without_decoding
from export.data.faces import open_cache
from export.data.folds import wild_split
from export.data.layouts import LabelledClip
from export.data.made_calls import read_calls
from export.data.pool import REPOSITORY, PoolError, cache_folder, pool_folder, read_table
from export.data.talk import in_step, split_talk
from export.evaluation.calls import false_incidents, read_made_calls, segments
from export.evaluation.facts import length_s
from export.evaluation.folds import cross_validation
from export.evaluation.galleries import several_faces
from export.evaluation.judging import Judged, Product, balanced, union_label
from export.evaluation.looks import with_looks
from export.evaluation.maps import aligned_pairs, made_calls
from export.evaluation.nuisances import nuisances
from export.evaluation.overlap import overlap
from export.evaluation.overview import conditions, genuine_talk, overview
from export.evaluation.robustness import LEVELS, robustness
from monitor.media import MODALITIES

DEMO_CALL = REPOSITORY / "monitor" / "demo" / "call.mp4"
BY_LENGTH = ("robustness", "nuisances", "conditions", "calls", "galleries", "folds", "talk", "maps")
SECTIONS = ("conditions", "robustness", "nuisances", "calls", "galleries", "talk", "maps", "folds")
Told = dict[str, Any]
logger = logging.getLogger("export.evaluation")


@dataclass(frozen=True)
class Sizes:
    """How much of everything is judged; clips unless said otherwise."""

    draws: int
    conditions: int
    distorted: int
    distorted_voices: int
    levels: tuple[int, ...]
    equalised: int
    made_calls: int
    galleries: int
    genuine_call_s: float
    genuine_s: float
    pairs: int
    timed: int


FULL = Sizes(200, 50, 40, 40, LEVELS, 40, 72, 78, 30.0, 300.0, 400, 8)
QUICK = Sizes(60, 16, 6, 8, (1, 5), 10, 4, 4, 12.0, 36.0, 60, 2)


@dataclass(frozen=True)
class Task:
    """What to measure with what. `name` of the folder; `pool` and `calls` None: where they usually are."""

    name: str
    models: Path
    sizes: Sizes
    sections: set[str]
    pool: Path | None = None
    calls: Path | None = None
    galleries: Path | None = None


def evaluate(task: Task, clips: list[LabelledClip], keep: Callable[[Told], None] = lambda numbers: None, jobs: int = 1) -> Judged:
    """Judge and count; `keep` gets all numbers so far (NaN as None) after every section. Returns what was judged. Raises ModelError."""
    started = monotonic()
    with Product(task.models) as product:
        judged = with_looks(product, product.judge_all(clips, f"scanning {task.name}"))
        numbers: Told = {
            "folder": task.name,
            "models": {model.name: model.sha256 for model in product.engine.models},
            "thresholds": {m: product.policies.of(m).threshold for m in MODALITIES},
            "short_thresholds": {m: product.policies.of(m).short_threshold for m in MODALITIES},
            "overview": overview(judged, task.sizes.draws) | {"files_s": sum(length_s(clip) for clip, said in judged if not said.error)},
            "overlap": overlap(judged, task.pool, task.sizes.draws),
            "cost": _cost(task.models, _both([clip for clip, said in judged if not said.error], task.sizes.timed)),
            "cards": card_numbers(task.models),
            "skipped": {},
            "seconds": {"overview": monotonic() - started, "all": monotonic() - started},
        }
    keep(plain(numbers))
    for name, told, why, seconds in _sections(task, clips, judged, jobs):
        numbers["seconds"] |= {name: seconds, "all": monotonic() - started}
        if why:
            numbers["skipped"][name] = why
        else:
            numbers[name] = told
        keep(plain(numbers))
    return judged


def _sections(task: Task, clips: list[LabelledClip], judged: Judged, jobs: int) -> Iterator[tuple[str, Any, str, float]]:
    """The wanted sections as they get done, `jobs` at a time, the longest first."""
    names = sorted(task.sections, key=BY_LENGTH.index)
    if jobs == 1:
        for name in names:
            yield (name, *section(name, task, clips, judged))
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(section, name, task, clips, judged): name for name in names}
        for done in as_completed(running):
            yield (running[done], *done.result())


def section(name: str, task: Task, clips: list[LabelledClip], judged: Judged) -> tuple[Any, str, float]:
    """One section's numbers, or why there are none, and how long it took."""
    sizes, began = task.sizes, monotonic()
    with Product(task.models) as product:
        work: dict[str, Callable[[], Any]] = {
            "conditions": lambda: conditions(product, judged, _both(clips, sizes.conditions)),
            "robustness": lambda: robustness(
                product, balanced(clips, "video", sizes.distorted), balanced(clips, "audio", sizes.distorted_voices), sizes.levels
            ),
            "nuisances": lambda: nuisances(
                product, judged, {modality: balanced(clips, modality, sizes.equalised) for modality in MODALITIES}
            ),
            "calls": lambda: _calls(product, clips, judged, sizes, task.calls),
            "galleries": lambda: several_faces(product, task.galleries or cache_folder("galleries"), sizes.galleries),
            "talk": lambda: _talk(product, task.pool),
            "maps": lambda: _maps(product, task),
            "folds": lambda: _folds(task.pool),
        }
        try:
            return work[name](), "", monotonic() - began
        except PoolError as why:
            return None, str(why), monotonic() - began
        except Exception as error:  # a bug met in one section must not take ten minutes of the others with it
            logger.exception("%s: internal error", name)
            return None, f"internal error ({type(error).__name__}); please report it with the log", monotonic() - began


def plain(value: Any) -> Any:
    """The same for JSON: floats of five digits, NaN as None, tuples as lists."""
    if isinstance(value, float):
        return None if math.isnan(value) or math.isinf(value) else round(value, 5)
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def _both(clips: list[LabelledClip], count: int) -> list[LabelledClip]:
    """Clips for both modalities: half chosen for their voice, half for their face."""
    chosen = {clip.path: clip for clip in [*balanced(clips, "audio", count // 2), *balanced(clips, "video", count // 2)]}
    return list(chosen.values())


def _cost(models: Path, clips: list[LabelledClip]) -> Told:
    """Milliseconds of CPU for a second, by stage: of the bundled call, and of some clips, each of which has a first and a last look."""
    told: Told = {}
    for name, files in (("call", [DEMO_CALL]), ("clips", [clip.path for clip in clips])):
        if files:
            media_s, stages = measured(files, models, rounds=3)
            told[name] = {"files": len(files), "media_s": media_s, "stages": stages, "without_decoding": without_decoding(stages)}
    return told


def _calls(product: Product, clips: list[LabelledClip], judged: Judged, sizes: Sizes, folder: Path | None) -> Told:
    genuine = [clip for clip in clips if union_label(clip) == "real" and not clip.derived and not clip.segments]
    told: Told = {"genuine": false_incidents(product, genuine, sizes.genuine_call_s, sizes.genuine_s) if genuine else None}
    own = [(clip, said) for clip, said in judged if clip.segments]
    if own:
        return told | {"segments": segments(judged), "of": "the folder's own forged seconds"}
    made = made_call_folder(folder)
    if made is None:
        return told | {"missing": "no made calls; python -m export.data.made_calls makes them"}
    rows = read_made_calls(made)[: sizes.made_calls]
    return told | {"segments": segments(product.judge_all(rows, "made calls")), "of": "calls made from held-out talk"}


def made_call_folder(chosen: Path | None) -> Path | None:
    folder = chosen or cache_folder("made_calls")
    return folder if next(folder.glob("call_*.json"), None) else None


def _maps(product: Product, task: Task) -> Told:
    where = pool_folder(task.pool)
    held = {row["file"] for row in wild_split(read_table(where / "data" / "wild"))[1]}
    model = task.models / "face_forgery.onnx"
    pairs, reference = aligned_pairs(model, open_cache(where), held, task.sizes.pairs)
    told: Told = {"pairs": pairs}
    made = made_call_folder(task.calls)
    if made is not None:
        told["made_calls"] = made_calls(
            product, model, [call for call in read_calls(made) if call.masks][: task.sizes.made_calls], reference
        )
    return told


def _talk(product: Product, pool: Path | None) -> Told:
    """Genuine talk into phones and webcams, of speakers whom no net was trained on; their language is the group."""
    folder = pool_folder(pool) / "data" / "talk"
    clips = [
        LabelledClip(folder / row["file"], "real", "real", "real" if in_step(row) else "", group=row["speaker"], people=row["language"])
        for row in split_talk(read_table(folder))[1]
    ]
    return genuine_talk(product.judge_all(clips, "genuine talk"))


def _folds(pool: Path | None) -> Told:
    where = pool_folder(pool)
    return cross_validation(where, open_cache(where))


def card_numbers(models: Path) -> Told:
    """What the cards and the calibration say of clips that the shipped nets never saw."""
    return {card.stem: json.loads(card.read_text()).get("numbers", {}) for card in sorted(models.glob("*.json"))}

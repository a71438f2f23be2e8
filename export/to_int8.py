"""Exported nets in 8 bits, where that costs no quality: python -m export.to_int8 face_forgery audio_visual voice_forgery

Run it last, after the nets' own export and before `export.calibrate`. Ranges are read from clips that the net was trained on, quality is
measured on held-out ones, both through monitor's own windows. A file that loses quality or saves little stays as it is. The lip–voice
net's labels come to stand in a branch that is skipped where nobody asks for them (`export.on_demand`). Of the voice net only the
recogniser's matrix products are offered: its convolutions would save .5 ms a second, and its local logits would depend on what stands far
away (tried; the tests of the net tell).
"""

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from export.command_line import Arguments, command
from export.data.folds import wild_split
from export.data.pool import Row, pool_folder, read_table
from export.data.talk import split_talk
from export.data.voices import split_voices
from export.evidence import File, load_models, windows_of
from export.integer_products import with_integer_products
from export.on_demand import on_demand
from export.onnx_files import open_onnx
from export.to_onnx import MODELS
from export.training import auc
from monitor.alerts.sync import fit, similarity_curve
from monitor.inference.card import Card, read_card, sha256_of
from monitor.inference.detectors import Detectors
from monitor.inference.session import Model

Floats = NDArray[np.float32]
Arrays = Mapping[str, Floats]
Answers = list[list[dict[str, Floats]]]
Split = Callable[[list[Row]], tuple[list[Row], list[Row]]]
FOLDERS: dict[str, tuple[str, Split]] = {
    "face_forgery": ("wild", wild_split),
    "audio_visual": ("talk", split_talk),
    "voice_forgery": ("voices", split_voices),
}
LEFT_ALONE = ("/backbone", "/Conv")  # frozen features and filters that closed-form discriminants read: .09 of correlation in 8 bits
EMBEDDINGS_ALWAYS = ("lip_embedding", "voice_embedding"), ("has_video", "has_audio")  # labels only where a flag is set
RANGE_CLIPS, MOST_EXAMPLES, HELD_CLIPS = 48, 128, 160
MOST_LOSS = 0.003  # of AUC
LEAST_GAIN = 0.15  # of CPU time


@dataclass
class Asked:
    """A model in its place that remembers what it was asked."""

    model: Model
    requests: list[Arrays] = field(default_factory=list)

    async def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        self.requests.append(inputs)
        return self.model.run(inputs)


class Examples(CalibrationDataReader):  # type: ignore[misc]  # comes without types
    def __init__(self, requests: Iterable[Arrays]) -> None:
        self._left = iter(requests)

    def get_next(self) -> Arrays | None:
        return next(self._left, None)


@command
def main() -> None:
    parser = Arguments(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+", choices=sorted(FOLDERS), metavar="NET", help=", ".join(sorted(FOLDERS)))
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--models", type=Path, default=MODELS)
    options = parser.parse_args()
    for name in options.nets:
        print(f"{name}: {shrink(name, options.models, pool_folder(options.pool))}")


def shrink(name: str, folder: Path, pool: Path) -> str:
    """Replace `folder`/`name`.onnx and its card where 8 bits pay; says what was found."""
    path = folder / f"{name}.onnx"
    card, models = read_card(path), load_models(folder)
    if is_int8(path):
        return "is in 8 bits already; export the net again first"
    data, split = FOLDERS[name]
    train, held = ([(row, pool / "data" / data / row["file"]) for row in rows] for rows in split(read_table(pool / "data" / data)))
    ranges = asyncio.run(requests_of(name, [clip for _, clip in spread(train, RANGE_CLIPS)], models))
    examples = spread([request for clip in ranges for request in clip], MOST_EXAMPLES)
    model = with_integer_products(path.read_bytes(), examples) if name == "voice_forgery" else quantised(path, examples)
    model = on_demand(model, *EMBEDDINGS_ALWAYS) if name == "audio_visual" else model
    chosen = spread(held, HELD_CLIPS)
    asked = asyncio.run(requests_of(name, [clip for _, clip in chosen], models))
    forged = [(row.get("label_video") or row.get("label") or "real") == "fake" for row, _ in chosen]
    found = compare(path.read_bytes(), model, asked, lambda answers: quality(name, answers, forged))
    if found["AUC, 8 bits"] < found["AUC, float"] - MOST_LOSS or found["ms, 8 bits"] > found["ms, float"] * (1 - LEAST_GAIN):
        return f"stays in float: {found}"
    path.write_bytes(model)
    path.with_suffix(".json").write_text(_described(card, path, found).model_dump_json(indent=1) + "\n")
    return f"is in 8 bits now: {found}"


def is_int8(path: Path) -> bool:
    return any(node.op_type == "QuantizeLinear" for node in onnx.load(path).graph.node)


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """Up to `most` of them, evenly over the whole list."""
    return [items[index * len(items) // most] for index in range(most)] if len(items) > most else list(items)


async def requests_of(name: str, clips: Sequence[Path], models: dict[str, Model]) -> list[list[Arrays]]:
    """What one net is asked about each clip in a call, in order."""
    found = []
    for clip in clips:
        asked = {each: Asked(model) for each, model in models.items()}
        detectors = Detectors({each: model.run for each, model in asked.items()}, None)
        for window in await windows_of(File(clip), models["face_detector"]):
            await detectors.look(window)
        found.append(asked[name].requests)
    return found


def quantised(path: Path, requests: Sequence[Arrays]) -> bytes:
    """The net with its convolutions in 8 bits (weights 7, so that processors without VNNI do not overflow), ranges from `requests`."""
    with tempfile.TemporaryDirectory() as folder:
        prepared, done = Path(folder) / "prepared.onnx", Path(folder) / "done.onnx"
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        kept = [node.name for node in onnx.load(prepared).graph.node if node.name.startswith(LEFT_ALONE)]
        quantize_static(
            prepared,
            done,
            Examples(requests),
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return done.read_bytes()


def compare(before: bytes, after: bytes, asked: Sequence[Sequence[Arrays]], judge: Callable[[Answers], float]) -> dict[str, float]:
    """Quality of both on the same requests, CPU milliseconds of one request, and how the outputs correlate."""
    found: dict[str, float] = {}
    both: list[Answers] = []
    for kind, model in (("float", before), ("8 bits", after)):
        answers, took_ms = answered(model, asked)
        found |= {f"AUC, {kind}": round(judge(answers), 4), f"ms, {kind}": round(took_ms, 2)}
        both.append(answers)
    for name in next(answer for clip in both[0] for answer in clip):
        values = [np.concatenate([answer[name].ravel() for clip in side for answer in clip]) for side in both]
        found[f"correlation of {name}"] = round(float(np.corrcoef(values)[0, 1]), 4)
    return found


def answered(model: bytes, asked: Sequence[Sequence[Arrays]]) -> tuple[Answers, float]:
    """(its outputs by name for each request of each clip; the least CPU milliseconds that a request took, of some dozen)."""
    session = open_onnx(model)
    names, takes = [each.name for each in session.get_outputs()], [each.name for each in session.get_inputs()]
    answers: Answers = []
    took_s = []
    for clip in asked:
        answers.append([])
        for request in clip:
            began_s = process_time()
            outputs = session.run(names, {each: request[each] for each in takes})
            took_s.append((process_time() - began_s) / len(request[takes[0]]))
            answers[-1].append(dict(zip(names, outputs, strict=True)))
    return answers, 1000 * float(np.quantile(took_s, 0.1))


def quality(name: str, answers: Answers, forged: Sequence[bool]) -> float:
    """AUC: of clips by their mean logit; for lips and voice, of what belongs together against the voice of another clip."""
    if name == "audio_visual":
        return _told_apart([answer for clip in answers for answer in clip[:1]])
    means = [float(np.mean(np.concatenate([answer["logit"] for answer in clip]))) if clip else None for clip in answers]
    sides = ([mean for mean, fake in zip(means, forged, strict=True) if mean is not None and fake == side] for side in (False, True))
    return auc(*sides)


def _told_apart(heard: Sequence[Mapping[str, Floats]]) -> float:
    """Each lips with their own voice against the same lips with the voice of the clip after."""
    lips, voices = ([answer[name][0] for answer in heard] for name in ("lip_embedding", "voice_embedding"))
    fits: dict[bool, list[float]] = {True: [], False: []}
    for index, seen in enumerate(lips):
        for own, voice in ((True, voices[index]), (False, voices[index - 1])):
            steps = min(len(seen), len(voice))
            fits[own].append(fit(similarity_curve(seen[:steps], voice[:steps], np.ones(steps, np.bool_))))
    return auc(fits[False], fits[True])


def _described(card: Card, path: Path, found: Mapping[str, float]) -> Card:
    """The card of the new file. `parity_max_abs` stays that of the float export, which it was made from."""
    what = (
        "the float file against this one, on held-out clips (audio_visual: own voice against another clip's); ms of CPU a request or crop"
    )
    return card.model_copy(
        update={
            "sha256": sha256_of(path),
            "made_with": f"{card.made_with}; then python -m export.to_int8 {card.name}",
            "numbers": {**card.numbers, "in_8_bits": {**found, "what": what}},
        }
    )


if __name__ == "__main__":
    main()

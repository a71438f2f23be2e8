"""What goes into the packed training set: rows with their coded parts, in an order in which every generator and person gives in turn."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.data import pack_file
from export.data.faces import FaceCache
from export.data.folds import wild_folds
from export.data.pool import read_table
from export.data.talk import TalkStore, split_avspeech, split_talk
from export.data.voices import Voices

ALWAYS = -1  # `held_in` of a row that trains in every fold
Record = tuple[dict[str, Any], tuple[bytes, ...]]


def in_turns(paths: Sequence[tuple[str, ...]], seed: int = 1) -> list[int]:
    """Indices so ordered that every first name gives one in turn, and within it every second one, and so on; what is left is shuffled.

    A path is, say, (generator, clip) or (folder, person); all are of one length.
    """
    rng = random.Random(seed)

    def turns(indices: list[int], depth: int) -> list[int]:
        if depth == len(paths[indices[0]]):
            rng.shuffle(indices)
            return indices
        named: dict[str, list[int]] = defaultdict(list)
        for index in indices:
            named[paths[index][depth]].append(index)
        orders = [turns(named[name], depth + 1) for name in sorted(named)]
        return [order[step] for step in range(max(map(len, orders))) for order in orders if step < len(order)]

    return turns(list(range(len(paths))), 0) if paths else []


def alternating(fakes: Sequence[int], genuine: Sequence[int]) -> Iterator[int]:
    """One of each in turn, then what is left of the longer."""
    for step in range(max(len(fakes), len(genuine))):
        yield from (side[step] for side in (fakes, genuine) if step < len(side))


def within(budget: float, records: Iterable[Record]) -> list[Record]:
    """The first records that fit."""
    kept, spent = [], 0.0
    for record in records:
        spent += pack_file.ROW_BYTES + sum(map(len, record[1]))
        if spent > budget:
            break
        kept.append(record)
    return kept


def fake_and_genuine(fake: Sequence[bool], paths: Sequence[tuple[str, ...]]) -> Iterator[int]:
    """Indices, fakes in turns alternating with genuine ones in turns."""
    sides = [[i for i, each in enumerate(fake) if each == side] for side in (True, False)]
    yield from alternating(*([side[k] for k in in_turns([paths[i] for i in side])] for side in sides))


def face_records(cache: FaceCache, held_in: dict[str, int], budget: float) -> list[Record]:
    """Coded crops; a fake brings its original, whose `origin` numbers are those of the packed rows."""
    rows = cache.rows
    usable = [i for i, row in enumerate(rows) if row.pool != "devset"]
    paths = [(rows[i].generator, rows[i].clip) if rows[i].fake else (rows[i].pool, rows[i].group or rows[i].clip) for i in usable]
    order = [usable[k] for k in fake_and_genuine([rows[i].fake for i in usable], paths)]
    placed: dict[int, int] = {}

    def records() -> Iterator[Record]:
        for index in order:
            origin = rows[index].origin
            for each in (origin, index) if origin >= 0 else (index,):
                if each not in placed:
                    placed[each] = len(placed)
                    yield _face_record(cache, each, placed, held_in)

    return within(budget, records())


def _face_record(cache: FaceCache, index: int, placed: dict[int, int], held_in: dict[str, int]) -> Record:
    row, crop = cache.rows[index], np.asarray(cache.crops[index])
    kept = replace(row, origin=placed.get(row.origin, -1))
    told = asdict(kept) | {"held_in": held_in.get(f"{row.pool}/{row.clip}", ALWAYS)}
    coded = pack_file.to_jpeg(crop, pack_file.FACE_QUALITY)
    before = pack_file.to_change(np.asarray(cache.before[index]), crop)
    return told, (coded, before, pack_file.to_mask(np.asarray(cache.masks[index])))


def voice_records(voices: Voices, budget: float) -> list[Record]:
    """Coded plain sound; what the fold of the shipped net leaves out altogether is left out here too."""
    rows = [*voices.train, *voices.held]
    paths = [(row["generator"] or row["source"], row["speaker"]) for row in rows]

    def records() -> Iterator[Record]:
        for index in fake_and_genuine([row["label"] == "fake" for row in rows], paths):
            samples = voices.samples(rows[index], worn=False)
            told = {**rows[index], "held_in": ALWAYS if index < len(voices.train) else 0, "samples": len(samples)}
            yield told, (pack_file.to_opus(samples),)

    return within(budget, records())


def lip_records(stores: dict[str, TalkStore], held_in: dict[str, int], budget: float) -> list[Record]:
    rows = [(folder, row) for folder, store in stores.items() for row in store.rows]
    fake = [row.get("label_video") == "fake" for _, row in rows]
    who = [row.get("generator") or row.get("speaker") or row.get("group") or row["file"][:2] for _, row in rows]
    paths = [(name,) if each else (folder, name) for each, name, (folder, _) in zip(fake, who, rows, strict=True)]

    def records() -> Iterator[Record]:
        for index in fake_and_genuine(fake, paths):
            folder, row = rows[index]
            clip = stores[folder].clip(row)
            sound = clip.sound if clip.sound is not None else np.zeros(0, np.float32)
            told = {**row, "folder": folder, "held_in": held_in.get(f"{folder}/{row['file']}", ALWAYS), "samples": len(sound)}
            yield told, (pack_file.to_lips(clip.mouths), pack_file.to_opus(sound))

    return within(budget, records())


def holders(pool: Path) -> dict[str, int]:
    """ "FOLDER/FILE" of what some fold holds out: the fold of `wild`; 0 for held speakers of `talk` and `avspeech`, who never train."""
    data = pool / "data"
    held = {f"wild/{row['file']}": fold for fold, (_, rows) in enumerate(wild_folds(read_table(data / "wild"))) for row in rows}
    held |= {f"talk/{row['file']}": 0 for row in split_talk(read_table(data / "talk"))[1]}
    return held | {f"avspeech/{row['file']}": 0 for row in split_avspeech(read_table(data / "avspeech"))[1]}

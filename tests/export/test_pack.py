"""The packed training set on a synthetic cache: what goes in comes out, and what does not fit is thinned evenly."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from export.data import pack_file
from export.data.faces import MASK_PX, WIDE_PX, FaceCache, FaceRow
from export.data.pack_records import ALWAYS, face_records, in_turns, lip_records, voice_records
from export.data.pool import PoolError, SoundStore
from export.data.talk import TalkStore, _write
from export.data.voices import Voices
from export.pack import open_pack, write_pack

GENERATORS = {"A": 30, "B": 12, "C": 4}
PLENTY = 1e9


def picture(seed: int, px: int = WIDE_PX) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(40, 210, (8, 8, 3)).astype(np.float32), (px, px), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8)


def tone(hz: float, seconds: float) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * hz * np.arange(round(16_000 * seconds)) / 16_000)).astype(np.float32)


@pytest.fixture
def cache() -> FaceCache:
    """46 fakes of three generators, each with its original, and a crop of devset."""
    rows: list[FaceRow] = []
    for generator, count in GENERATORS.items():
        for number in range(count):
            clip = f"{generator}{number}"
            real = FaceRow("wild", f"real{clip}", False, "", "", clip, "", -1, True, (1.0, 2.0, 3.0, 4.0, 5.0), (1.0, 2.0, 3.0, 4.0))
            rows.append(real)
            rows.append(replace(real, clip=clip, fake=True, generator=generator, family="face swap", origin=len(rows) - 1))
    rows.append(FaceRow("devset", "d.mp4", False, "", "", "", "", -1, True, None, (1.0, 2.0, 3.0, 4.0)))
    made = FaceCache.__new__(FaceCache)
    made.rows = rows
    made.crops = np.stack([picture(seed) for seed in range(len(rows))])
    made.before = made.crops.copy()
    made.before[::4] = np.roll(made.crops[::4], 1, axis=2)
    made.masks = np.zeros((len(rows), MASK_PX, MASK_PX), np.uint8)
    made.masks[1::2, 10:30, 5:20] = 200
    return made


@pytest.fixture
def voices(tmp_path: Path) -> Voices:
    rows = [
        {"file": f"{label}{n}", "label": label, "generator": f"G{n % 3}" if label == "fake" else "", "source": "s", "speaker": f"p{n}"}
        for label in ("fake", "real")
        for n in range(6)
    ]
    SoundStore.write(tmp_path / "plain.i16", ((row["file"], tone(300 + 50 * n, 1.03)) for n, row in enumerate(rows)))
    store = SoundStore(tmp_path / "plain.i16")
    return Voices(rows[:9], rows[9:], store, store)


@pytest.fixture
def lips(tmp_path: Path) -> TalkStore:
    mouths = np.stack([picture(n, 64)[..., 1] for n in (1, 2)]).repeat(15, 0)
    _write(tmp_path, iter([("a.mp4", mouths, tone(400, 1.2)), ("b.mp4", mouths[:20], np.zeros(0, np.float32))]))
    return TalkStore(tmp_path, [{"file": "a.mp4", "speaker": "x"}, {"file": "b.mp4", "speaker": "y"}])


def test_what_goes_in_comes_out(tmp_path, cache, voices, lips):
    held_in = {"wild/A0": 0, "wild/realA0": 0, "wild/B1": 2, "talk/b.mp4": 0}
    sections = {
        "faces": face_records(cache, held_in, PLENTY),
        "voices": voice_records(voices, PLENTY),
        "lips": lip_records({"talk": lips}, held_in, PLENTY),
    }
    write_pack(tmp_path / "x.pack", sections, {"net": b"weights"})
    pack = open_pack(tmp_path / "x.pack")
    assert pack.files == {"net": b"weights"}
    places = {row.clip: place for place, row in enumerate(cache.rows)}
    assert len(pack.faces.rows) == len(cache.rows) - 1
    for index, row in enumerate(pack.faces.rows):
        place = places[row.clip]
        assert replace(row, origin=-1) == replace(cache.rows[place], origin=-1)
        assert row.origin == -1 or pack.faces.rows[row.origin].clip == cache.rows[cache.rows[place].origin].clip
        crop, before = pack.faces.shot(index)
        assert np.abs(crop.astype(int) - cache.crops[place]).mean() < 4
        assert np.abs(before.astype(int) - cache.before[place]).mean() < 6
        assert np.abs(pack.faces.masks[index].astype(int) - cache.masks[place]).max() <= 9
    decoded = pack.faces.decoded()
    assert decoded.rows == pack.faces.rows
    for index in range(0, len(decoded.rows), 7):
        assert (decoded.shot(index) == pack.faces.shot(index)).all()
        assert (decoded.masks[index] == pack.faces.masks[index]).all()
    fold = pack.faces.fold(0)
    assert {pack.faces.rows[i].clip for i in fold.held} == {"A0", "realA0"}
    assert not {pack.faces.rows[i].generator for i in fold.train} & {"A"}
    assert {pack.faces.rows[i].clip for i in pack.faces.fold(2).held} == {"B1"}
    assert [row["file"] for row in pack.voices.held] == [row["file"] for row in pack.voices.held if row in pack.voices.held]
    assert {row["file"] for row in pack.voices.held} == {row["file"] for row in voices.held}
    for row in voices.train:
        heard, sent = pack.voices.samples(row), voices.samples(row, worn=False)
        assert heard.shape == sent.shape
        assert np.corrcoef(heard[800:-800], sent[800:-800])[0, 1] > 0.9
    whole, silent = (pack.lips.clip(row) for row in sorted(pack.lips.rows, key=lambda row: row["file"]))
    assert np.abs(whole.mouths.astype(int) - lips.clip(lips.rows[0]).mouths).mean() < 5
    assert whole.sound is not None
    assert len(whole.sound) == round(1.2 * 16_000)
    assert silent.sound is None
    assert len(silent.mouths) == 20
    assert silent.row["held_in"] == 0
    assert whole.row["held_in"] == ALWAYS


def test_a_small_budget_is_kept_and_every_generator_gives(tmp_path, cache, voices, lips):
    everything = face_records(cache, {}, PLENTY)
    budget = 0.4 * sum(pack_file.ROW_BYTES + sum(map(len, parts)) for _, parts in everything)
    records = face_records(cache, {}, budget)
    sections = {"faces": records, "voices": voice_records(voices, 12_000), "lips": lip_records({"talk": lips}, {}, 1)}
    write_pack(tmp_path / "x.pack", sections, {})
    assert (tmp_path / "x.pack").stat().st_size <= budget + 12_000 + 2000
    pack = open_pack(tmp_path / "x.pack")
    given = Counter(row.generator for row in pack.faces.rows if row.fake)
    assert given["C"] == GENERATORS["C"]
    assert abs(given["A"] - given["B"]) <= 1
    assert 0.5 < (sum(given.values()) / sum(not row.fake for row in pack.faces.rows)) <= 1
    assert len({row["generator"] for row in [*pack.voices.train, *pack.voices.held]}) >= 2
    assert pack.lips.rows == []


def test_one_section_is_renewed_and_the_others_stay(tmp_path, cache, voices, lips):
    path = tmp_path / "x.pack"
    whole = {
        "faces": face_records(cache, {}, PLENTY),
        "voices": voice_records(voices, PLENTY),
        "lips": lip_records({"talk": lips}, {}, PLENTY),
    }
    write_pack(path, whole, {})
    before, held = open_pack(path), pack_file.bytes_of(path, ["voices", "lips"])
    assert 0.4 * path.stat().st_size > held > 0
    write_pack(path, {"faces": whole["faces"][:4]}, {"net": b"new"})
    after = open_pack(path)
    assert len(after.faces.rows) == 4
    assert after.files == {"net": b"new"}
    assert after.lips.rows == before.lips.rows
    row = before.voices.train[0]
    assert (after.voices.samples(row) == before.voices.samples(row)).all()


def test_turns_go_round():
    names = [("a",)] * 5 + [("b",)] * 2 + [("c",)]
    assert Counter(names[i] for i in in_turns(names)[:3]) == {("a",): 1, ("b",): 1, ("c",): 1}
    assert Counter(names[i] for i in in_turns(names)[:5]) == {("a",): 2, ("b",): 2, ("c",): 1}
    assert sorted(in_turns(names)) == list(range(8))
    assert in_turns([]) == []


def test_many_people_of_one_folder_do_not_crowd_out_another():
    people = [("stills", f"p{n}") for n in range(40)] + [("talk", f"t{n // 10}") for n in range(30)]
    first = [people[i] for i in in_turns(people)[:20]]
    assert Counter(folder for folder, _ in first) == {"stills": 10, "talk": 10}
    assert sorted(Counter(person for folder, person in first if folder == "talk").values()) == [3, 3, 4]


def test_another_file_is_one_clear_line(tmp_path):
    (tmp_path / "x.pack").write_bytes(b"no zip")
    with pytest.raises(PoolError, match=r"python -m export\.pack"):
        open_pack(tmp_path / "x.pack")

"""Calls of several faces from a tiny pool of moving patterns: who is where, who is heard, and what the evaluation counts."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import pytest

from export.data import galleries
from export.data.call_making import Segment, SpokenTurn
from export.data.galleries import DUBS, FRAMES, KINDS, LENGTH_S, make_gallery
from export.data.guests import FPS, Guests, calmest
from export.data.made_calls import MadeCall, encoded, main, read_calls
from export.data.pool import PoolError
from export.data.talk import HELD_SPEAKER_SHARE
from export.evaluation.galleries import of_kind, several_faces, speaker_hits
from export.evaluation.judging import Judgement, Product
from monitor.inference.engine import embedded_models
from monitor.media import AUDIO_RATE_HZ, Alert, Score

HELD = [name for name in (f"p{number}" for number in range(200)) if crc32(name.encode()) / 2**32 < HELD_SPEAKER_SHARE][:5]


def clip(path: Path, seed: int) -> None:
    """A second and a half of a pattern that moves, but for its middle, beside a tone of its own."""
    rng = np.random.default_rng(seed)
    wall = cv2.resize(rng.integers(0, 255, (8, 16, 3)).astype(np.uint8), (200, 64), interpolation=cv2.INTER_CUBIC)
    places = [min(at, 10) + max(0, at - 24) for at in range(38)]
    frames = [np.ascontiguousarray(wall[:, 2 * at : 2 * at + 64]) for at in places]
    times_s = np.arange(round(1.52 * AUDIO_RATE_HZ)) / AUDIO_RATE_HZ
    path.write_bytes(encoded(frames, (0.1 * np.sin(2 * np.pi * (200 + 60 * seed) * times_s)).astype(np.float32), FPS))


def table(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    with (folder / "clips.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def pool_of(folder: Path, speakers: Sequence[str], faces: int) -> Path:
    """A pool of `speakers` with two clips each, and so many silent faces of which a quarter is held out."""
    talk, wild = folder / "data" / "talk", folder / "data" / "wild"
    talk.mkdir(parents=True)
    wild.mkdir()
    said = [{"file": f"{name}_{take}.mp4", "speaker": name} for name in speakers for take in range(2)]
    seen = [
        {"file": f"real{n}.mp4", "label_video": "real", "family": "", "generator": "", "group": f"g{n}", "source": f"s{n}", "pair": ""}
        for n in range(faces)
    ]
    for number, row in enumerate(said):
        clip(talk / row["file"], number)
    for number, row in enumerate(seen):
        clip(wild / row["file"], 50 + number)
    table(talk, said)
    table(wild, seen)
    return folder


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pool_of(tmp_path_factory.mktemp("pool"), HELD, faces=24)


@pytest.fixture(scope="module")
def guests(pool: Path) -> Guests:
    return Guests(pool)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_tells_who_speaks_where_and_forges_only_dubs(guests: Guests, kind: str) -> None:
    call = make_gallery(guests, kind, HELD[0], 5)
    assert (len(call.frames), len(call.sound)) == (FRAMES, LENGTH_S * AUDIO_RATE_HZ)
    assert [each.modality for each in call.segments] == ["sync"] * (kind in DUBS)
    unseen = [turn.box_xyxy is None for turn in call.turns]
    assert any(unseen) == (kind in galleries.UNSEEN or kind in ("gallery_turns_unseen", "gallery_share", "gallery_view"))
    assert all(unseen) == (kind in galleries.UNSEEN)
    assert all(0 <= turn.start_s < turn.end_s <= LENGTH_S for turn in call.turns)
    people = {turn.box_xyxy for turn in call.turns}
    assert (len(people) > 1) == (kind in galleries.TURNS)
    assert call.faces == 1 if kind in ("gallery_share", "gallery_view") else 2 <= call.faces <= 6


def test_the_same_seed_gives_the_same_call(guests: Guests) -> None:
    first, again, other = (make_gallery(guests, "gallery_turns", HELD[1], seed) for seed in (3, 3, 4))
    assert (first.sound == again.sound).all()
    assert (first.frames[77] == again.frames[77]).all()
    assert first.turns == again.turns != other.turns


def test_only_the_speakers_tile_moves_and_only_the_own_sound_is_heard(guests: Guests) -> None:
    call = make_gallery(guests, "gallery", HELD[0], 1)
    (turn,) = call.turns
    assert turn.box_xyxy is not None
    moved = np.abs(np.diff(np.stack([frame[::4, ::4] for frame in call.frames]).astype(int), axis=0)).mean((0, 3))
    mine = np.zeros(moved.shape, np.bool_)
    x0, y0, x1, y1 = (round(share * side) for share, side in zip(turn.box_xyxy, moved.shape[::-1] * 2, strict=True))
    mine[y0:y1, x0:x1] = True
    assert moved[mine].mean() > 3 * moved[~mine].mean()
    own = [guests.talk(guests.speaker(HELD[0]), FRAMES, np.random.default_rng(seed)).sound for seed in range(8)]
    assert any(np.abs(sound - call.sound).max() < 1e-6 for sound in own)


def test_a_dub_exchanges_the_voice_in_its_seconds_only(guests: Guests) -> None:
    call = make_gallery(guests, "gallery_dub", HELD[2], 9)
    (segment,) = call.segments
    own = [guests.talk(guests.speaker(HELD[2]), FRAMES, np.random.default_rng(seed)).sound for seed in range(8)]
    start, stop = (round(each * AUDIO_RATE_HZ) for each in (segment.start_s, segment.end_s))
    nearest = min(own, key=lambda sound: float(np.abs(sound[:start] - call.sound[:start]).max()))
    assert np.abs(nearest[: start - 10] - call.sound[: start - 10]).max() < 1e-6
    assert abs(np.corrcoef(nearest[start + 200 : stop - 200], call.sound[start + 200 : stop - 200])[0, 1]) < 0.2


def test_the_calm_half_second_is_found() -> None:
    motion = np.full(60, 4.0, np.float32)
    motion[20:40] = 0.5
    mean, part = calmest(motion)
    assert mean == pytest.approx(0.5)
    assert part.start >= 20
    assert part.stop <= 41


@pytest.mark.parametrize("speakers", [[], HELD[:1]])
def test_too_few_people_are_one_clear_line(tmp_path: Path, speakers: list[str]) -> None:
    with pytest.raises(PoolError, match="fewer than two held-out speakers"):
        Guests(pool_of(tmp_path, [*speakers, "nobody held"], faces=8))


def test_a_small_pool_takes_turns_and_makes_no_crowd(tmp_path: Path) -> None:
    few, rng = Guests(pool_of(tmp_path, HELD[:2], faces=4)), np.random.default_rng(1)
    assert [person.name for person in few.others(rng, 1, few.speaker(HELD[0]), speaking=True)] == [HELD[1]]
    with pytest.raises(PoolError, match="too few held-out people"):
        few.others(rng, 4)


def test_the_command_makes_what_is_missing(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--galleries", "--count", "2", "--pool", str(pool), "--out", str(tmp_path)]
    main(wanted)
    assert capsys.readouterr().out.splitlines() == ["call_0000: gallery", "call_0001: gallery_muted"]
    main(wanted)
    assert capsys.readouterr().out == ""
    first, second = read_calls(tmp_path)
    assert (first.kind, second.kind) == ("gallery", "gallery_muted")
    assert first.turns[0].box_xyxy is not None
    assert json.loads((tmp_path / "call_0000.json").read_text())["faces"] == first.faces > 1
    with pytest.raises(SystemExit):
        main(["--count", "0"])
    assert "whole number of at least 1" in capsys.readouterr().err


# ---------------------------------------------------------------- the evaluation


def said(states: dict[str, str], opened: Sequence[Alert] = (), compared: Sequence[Score] = ()) -> Judgement:
    verdicts = {m: {"state": states.get(m, "genuine"), "p_fake": 0.2, "coverage": 0.5} for m in ("audio", "video", "sync")}
    tracks = [{"track_id": 0, "box_xyxy": [0.1, 0.1, 0.3, 0.6]}, {"track_id": 1, "box_xyxy": [0.6, 0.1, 0.9, 0.6]}]
    return Judgement({"duration_s": 16.0, "verdicts": verdicts, "tracks": tracks}, tuple(opened), compared=tuple(compared))


def alert(since_s: float, time_s: float) -> Alert:
    return Alert("i", "opened", "s", "sync", 1, time_s, since_s, 0.95, 0.85, 0.5, 5.0, "words")


def made(kind: str, segments: tuple[Segment, ...] = (), turns: tuple[SpokenTurn, ...] = ()) -> MadeCall:
    return MadeCall(Path(f"{kind}.mp4"), "p", 1, FPS, 16.0, {}, segments, None, kind, turns, 2)


def test_incidents_are_false_unless_they_are_about_the_dub() -> None:
    dub = made("gallery_dub", (Segment("sync", "dub", 6.0, 11.0),), (SpokenTurn(0.0, 16.0, (0.5, 0.0, 1.0, 1.0)),))
    rows = [
        (dub, said({"sync": "fake"}, [alert(6.5, 10.0)]), 1.0),
        (made("gallery"), said({"sync": "fake", "video": "suspicious"}, [alert(0.0, 5.0)]), 1.0),
        (dub, said({"sync": "insufficient"}), 1.0),
        (dub, said({"sync": "fake"}, [replace(alert(6.5, 10.0), track_id=0)]), 1.0),  # names the one who listens
    ]
    told = of_kind(rows)
    assert (told["calls"], told["dubbed"], told["noticed"], told["not_judged"]) == (4, 3, 1, 1)
    assert told["false"] == {"audio": 0, "video": 0, "sync": 1}
    assert told["suspicious"] == {"audio": 0, "video": 1, "sync": 0}


def test_the_right_speaker_is_whose_tile_holds_the_face() -> None:
    left, right = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
    turns = (SpokenTurn(0.0, 5.0, left), SpokenTurn(5.0, 10.0, right), SpokenTurn(10.0, 12.0, None))
    compared = [
        Score("sync", track, start_s, start_s + 2.4, None) for track, start_s in ((0, 0.0), (0, 5.2), (1, 3.0), (1, 9.8), (0, 13.0))
    ]
    assert speaker_hits(made("gallery_turns", turns=turns), said({}, compared=compared)) == [True, False, False, False]


def test_a_folder_of_galleries_is_counted(pool: Path, tmp_path: Path) -> None:
    main(["--kinds", "gallery_unseen", "--count", "1", "--pool", str(pool), "--out", str(tmp_path)])
    with Product(embedded_models()) as product:
        told = several_faces(product, tmp_path, 5)
        assert told["calls"] == told["kinds"]["gallery_unseen"]["calls"] == 1
        assert told["all"]["false"]["sync"] == 0
        assert told["all"]["not_judged"] == 1, "patterns are no faces"
        assert all(ms > 0 for ms in told["cpu_ms"].values())
        with pytest.raises(PoolError, match="--galleries makes them"):
            several_faces(product, tmp_path / "nothing", 5)

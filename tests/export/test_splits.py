"""What is held back shares nothing with what is trained on."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy is not installed (pip install -e .[export])")

from export.data.mouths import mirrored, worn_mouths
from export.data.pool import PoolError, Row, SoundStore, hold_out, pool_folder, read_table
from export.data.sound import CODECS, cut, roughen, through_codec, trim_silence
from export.data.talk import on_grid, split_avspeech, split_talk
from export.data.voices import split_voices


@pytest.fixture(scope="module")
def data() -> Path:
    try:
        return pool_folder() / "data"
    except PoolError as error:
        pytest.skip(str(error))


def assert_disjoint(train: Sequence[Row], held: Sequence[Row], columns: Sequence[str]) -> None:
    assert train
    assert held
    for column in columns:
        both = {row[column] for row in train if row[column]} & {row[column] for row in held}
        assert not both, f"{column} in both folds: {sorted(both)[:3]}"


@pytest.mark.pool
def test_voices_share_no_source_generator_or_speaker(data: Path):
    rows = read_table(data / "voices")
    train, held = split_voices(rows)
    assert_disjoint(train, held, ("file", "source", "generator", "speaker"))
    assert {row["label"] for row in held} == {"real", "fake"}
    assert 0.08 < len(held) / len(rows) < 0.2
    assert len(train) > 0.8 * len(rows)


@pytest.mark.pool
def test_talk_shares_no_speaker_and_avspeech_no_stretch_of_numbers(data: Path):
    assert_disjoint(*split_talk(read_table(data / "talk")), ("file", "speaker"))
    train, held = split_avspeech(read_table(data / "avspeech"))
    assert max(row["file"] for row in train) < min(row["file"] for row in held)


def test_a_row_that_touches_the_held_fold_is_in_neither(tmp_path: Path):
    table = "file,source,generator,speaker\na,1,x,\nb,1,,ann\nc,2,x,\nd,2,y,\ne,3,,ann\nf,3,,\n"
    (tmp_path / "clips.csv").write_text(table)
    rows = read_table(tmp_path)
    train, held = hold_out(rows, {"1"}, by="source", disjoint=("generator", "speaker"))
    assert [row["file"] for row in held] == ["a", "b"]
    assert [row["file"] for row in train] == ["d", "f"]


def test_new_clips_do_not_move_old_speakers():
    rows = [{"file": f"{i}", "speaker": f"p{i % 20}"} for i in range(60)]
    before = {row["speaker"] for row in split_talk(rows)[1]}
    after = {row["speaker"] for row in split_talk([*rows, {"file": "new", "speaker": "somebody"}])[1]}
    assert before == after - {"somebody"}


def test_a_missing_pool_or_table_says_what_to_do(tmp_path: Path):
    with pytest.raises(PoolError, match="DEEPFAKE_POOL"):
        pool_folder(tmp_path)
    with pytest.raises(PoolError, match=r"clips\.csv"):
        read_table(tmp_path)


def test_sound_survives_the_store(tmp_path: Path):
    clips = [("a", np.linspace(-1, 1, 100, dtype=np.float32)), ("empty", np.zeros(0, np.float32)), ("b", np.ones(7, np.float32) / 2)]
    SoundStore.write(tmp_path / "s.i16", iter(clips))
    store = SoundStore(tmp_path / "s.i16")
    assert "b" in store
    for name, samples in clips:
        assert np.abs(store.get(name) - samples).max(initial=0) < 1e-4


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_keep_the_length_and_the_voice(codec: str):
    rng = np.random.default_rng(0)
    time_s = np.arange(16_000) / 16_000
    tone = (0.2 * np.sin(2 * np.pi * 440 * time_s) * (1 + np.sin(2 * np.pi * 3 * time_s)) / 2).astype(np.float32)
    back = through_codec(tone, codec, int(rng.choice(CODECS[codec][2])))
    assert back.shape == tone.shape
    spectrum = np.abs(np.fft.rfft(back))
    assert abs(int(spectrum.argmax()) - 440) <= 3


def test_roughening_is_seeded_and_keeps_the_length():
    sound = np.random.default_rng(1).normal(0, 0.05, 19_200).astype(np.float32)
    for seed in range(20):
        once, again = (roughen(sound, np.random.default_rng(seed)) for _ in range(2))
        assert once.shape == sound.shape
        assert once.dtype == np.float32
        assert np.isfinite(once).all()
        assert np.array_equal(once, again)


def test_silence_is_trimmed_and_short_sound_repeated():
    sound = np.concatenate([np.zeros(16_000), np.random.default_rng(0).normal(0, 0.1, 8000), np.zeros(8000)]).astype(np.float32)
    trimmed = trim_silence(sound)
    assert 8000 <= len(trimmed) <= 10_000
    assert len(cut(trimmed, 38_400, np.random.default_rng(0))) == 38_400


def test_pictures_fall_on_the_25_hz_grid_until_the_first_gap():
    at_30_hz = np.arange(30) / 30
    steps = on_grid(at_30_hz)
    assert len(steps) == 25
    assert np.abs(at_30_hz[steps] - np.arange(25) / 25).max() <= 1 / 60 + 1e-9
    with_gap = np.concatenate([np.arange(10), np.arange(20, 40)]) / 25
    assert len(on_grid(with_gap)) in range(10, 15)


def test_short_clips_run_back_and_worn_mouths_stay_mouths():
    assert mirrored(4, 2, 6).tolist() == [2, 3, 2, 1, 0, 1]
    mouths = np.random.default_rng(0).integers(0, 255, (12, 64, 64)).astype(np.uint8)
    for seed in range(10):
        worn = worn_mouths(mouths, np.random.default_rng(seed))
        assert worn.shape == mouths.shape
        assert worn.min() >= 0
        assert worn.max() <= 255


def test_tables_are_read_in_file_order(tmp_path: Path):
    with (tmp_path / "labels.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["file"], ["b"], ["a"]])
    assert [row["file"] for row in read_table(tmp_path)] == ["a", "b"]

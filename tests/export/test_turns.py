"""People by turns: every turn where it should be, its pictures beside its own sound, and a dub where the truth says so."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from export.data.held_out import HeldClip
from export.data.pool import PoolError
from export.data.turns import HEIGHT_PX, WIDTH_PX, Dub, Turn, Turns, drawn_turns
from export.evidence import SeenWindow
from export.rehearse_turns import BEGINS_S, ENDS_S, dubbed_turns, genuine_turns, rehearse_turns, talking, told_of_turns
from monitor.alerts.calibration import Logistic, ModalityCalibration
from monitor.alerts.policy import default_policy
from monitor.media import AUDIO_RATE_HZ, AudioChunk, LipsAndVoice, MediaInfo, Score, VideoFrame
from tests.export.running import run
from tests.synth import Recipe, picture_events_s, sound_events_s, write_media


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two seconds wide with a flash and a tone at 1 s, and three seconds upright with them at 2.2 s."""
    folder = tmp_path_factory.mktemp("turns")
    return (
        write_media(folder / "wide.mp4", Recipe(seconds=2.0, width=320, height=180, events_s=(1.0,))),
        write_media(folder / "upright.mp4", Recipe(seconds=3.0, fps=30, width=90, height=160, events_s=(2.2,))),
    )


async def test_pictures_stay_beside_their_sound_through_every_turn(clips: tuple[Path, Path]) -> None:
    wide, upright = clips
    turns = (Turn(wide, 1.5, 1.0), Turn(upright, 1.2, 1.0), Turn(wide, 9.0, 0.3))
    info, *items = await run(Turns(turns))
    assert info == MediaInfo(True, True, "container")
    assert all(a.time_s <= b.time_s for a, b in pairwise(items))
    frames, chunks = ([item for item in items if isinstance(item, kind)] for kind in (VideoFrame, AudioChunk))
    assert all(a.end_s == pytest.approx(b.time_s, abs=1e-6) for a, b in pairwise(chunks)), "sound without gaps"
    flashes, tones = picture_events_s([frame for frame in frames if frame.time_s < 1.4 or frame.time_s > 2.8]), sound_events_s(chunks)
    assert flashes == pytest.approx([tones[0], tones[2]], abs=0.045)
    ended_s = chunks[-1].end_s
    assert tones == pytest.approx([1.0 - 0.46, 1.5 + 2.2 - 1.77, ended_s - 0.96], abs=0.06)


async def test_every_picture_is_as_large_as_fits_between_black_bars(clips: tuple[Path, Path]) -> None:
    _, *items = await run(Turns((Turn(clips[1], 1.2, 0.0),)))
    frame = next(item for item in items if isinstance(item, VideoFrame))
    assert frame.picture.size_wh == (WIDTH_PX, HEIGHT_PX)
    assert frame.rgb.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert frame.picture.luma.pixels.shape == (HEIGHT_PX, WIDTH_PX)
    left, right = (np.flatnonzero(frame.rgb.max((0, 2)) > 20)[at] for at in (0, -1))
    assert right - left + 1 == pytest.approx(HEIGHT_PX * 90 / 160, abs=4)
    assert left == pytest.approx(WIDTH_PX - 1 - right, abs=4)
    assert frame.picture.luma.pixels[:, 0].max() == (0 if frame.picture.luma.full_range else 16)


async def test_a_dub_is_heard_where_the_truth_says_and_nowhere_else(clips: tuple[Path, Path]) -> None:
    wide, upright = clips
    turns = (Turn(wide, 1.2, 0.0), Turn(upright, 1.2, 0.0), Turn(wide, 1.2, 0.0))
    dub = Dub(0.9, 2.9, (upright,))
    own, dubbed = [
        np.concatenate([item.samples for item in await run(source) if isinstance(item, AudioChunk)])
        for source in (Turns(turns), Turns(turns, dub))
    ]
    (voice,) = [
        np.concatenate([item.samples for item in await run(Turns((Turn(upright, 9.0, 0.0),))) if isinstance(item, AudioChunk)]),
    ]
    first, last = (round(at_s * AUDIO_RATE_HZ) for at_s in (dub.start_s, dub.end_s))
    assert np.array_equal(dubbed[first:last], voice[: last - first])
    assert np.array_equal(dubbed[:first], own[:first])
    assert np.array_equal(dubbed[last:], own[last:])


def test_calls_are_drawn_by_their_seed_and_nobody_follows_himself() -> None:
    clips = {"a": [Path("a1"), Path("a2")], "b": [Path("b")], "c": [Path("c")]}
    (call,) = genuine_turns(clips, 1)
    assert genuine_turns(clips, 1) == [call] != genuine_turns(clips, 1, seed=4)
    assert 600 <= sum(turn.seconds for turn in call.turns) < 604
    assert all(before.path.name[0] != after.path.name[0] for before, after in pairwise(call.turns))
    assert {turn.path for turn in drawn_turns(clips, 600, np.random.default_rng(1))} == {path for paths in clips.values() for path in paths}


def test_too_few_people_are_told_before_anything_is_looked_at() -> None:
    clip = HeldClip(Path("a.mp4"), False, "a", "")
    silent = SeenWindow(0.0, 0.0, 2.4, voice={}, face={}, heard=None, speech_s=0.0)
    embedding, seen = np.zeros((60, 4), np.float32), np.ones(60, np.bool_)
    talks = replace(silent, heard=LipsAndVoice(embedding, embedding, seen, seen))
    others = [(replace(clip, path=Path(f"{n}.mp4"), person=str(n)), [talks]) for n in range(9)]
    looked = [(clip, [silent, talks]), (clip, [talks]), (replace(clip, path=Path("f.mp4"), fake=True), [talks]), *others]
    assert talking([*looked, (replace(clip, path=Path("s.mp4"), person="s"), [silent])]).keys() == {"a", *(str(n) for n in range(9))}
    assert talking(looked)["a"] == [Path("a.mp4")]
    with pytest.raises(PoolError, match="10 held-out people talk where 18 must"):
        rehearse_turns(looked, {})


def test_the_voice_of_a_dub_is_of_nobody_in_the_call() -> None:
    clips = {name: [Path(f"{name}{n}") for n in range(3)] for name in "abcdefghijkl"}
    for call in dubbed_turns(clips, 20):
        assert call.dub is not None
        assert BEGINS_S <= call.dub.start_s < call.dub.end_s <= ENDS_S
        assert not {path.name[0] for path in call.dub.voices} & {turn.path.name[0] for turn in call.turns}


def test_a_rehearsed_call_goes_through_monitors_incidents() -> None:
    """Lips that fit their voice open none; foreign ones do, across a cut to another face too."""
    rng, seen = np.random.default_rng(5), np.ones(60, np.bool_)
    spoken = [np.cumsum(rng.standard_normal((63, 16)), 0)[3:].astype(np.float32) for _ in range(8)]
    judged = ModalityCalibration(
        fusions=(Logistic(weights={"fit": -3.5}, bias=5.5), Logistic(weights={"agreement": -3.0}, bias=4.0)), threshold=0.8, suspicious=0.5
    )

    def call(lips: list[np.ndarray]) -> list[list[Score]]:
        scores = []
        for place, (of_face, voice) in enumerate(zip(lips, spoken, strict=True)):
            span, track = (2.4 * place, 2.4 * (place + 1)), place // 4
            heard = LipsAndVoice(of_face, voice, seen, seen)
            scores.append([Score("video", track, *span, None, "no_face"), Score("sync", track, *span, None, heard=heard)])
        return scores

    verdicts, opened = told_of_turns(call(spoken), default_policy("sync", judged), judged)
    assert [each.track_id for each in verdicts] == [0] * 4 + [1] * 4
    assert not opened
    verdicts, opened = told_of_turns(call(spoken[1:] + spoken[:1]), default_policy("sync", judged), judged)
    assert len(opened) == 1
    assert verdicts[-1].state == "fake"

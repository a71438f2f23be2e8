"""Made calls: forging seconds of a synthetic take, the truth that is written, and what the pool's calls hold."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from export.data.call_forgery import MASK_CELL_PX, Take, cut_out, forge_face, frozen, joined, looped, shifted, spliced, steadied, with_sound
from export.data.call_making import ASKED_KINDS, EDGE_S, KINDS, Forged, Held, Segment, _forged, make
from export.data.faces import frames_of
from export.data.made_calls import labels_of, plan, read_calls, write
from export.data.pool import PoolError, pool_folder, read_sound
from monitor.media import AUDIO_RATE_HZ

FACE_XY = np.array([[40, 50], [72, 50], [56, 66], [43, 84], [69, 84]], np.float32)


def take(seed: int, count: int = 50, fps: float = 25.0) -> Take:
    """A textured picture that drifts by a pixel a frame, its landmarks with it, and noise that grows louder."""
    rng = np.random.default_rng(seed)
    wall = cv2.resize(rng.normal(120, 40, (30, 60, 3)).astype(np.float32), (112 + count, 128), interpolation=cv2.INTER_CUBIC)
    wall = np.clip(wall + rng.normal(0, 5, wall.shape), 0, 255).astype(np.uint8)
    frames = [np.ascontiguousarray(wall[:, at : at + 112]) for at in range(count)]
    landmarks = np.stack([FACE_XY - [0.2 * at, 0] for at in range(count)]).astype(np.float32)
    length = round(count / fps * AUDIO_RATE_HZ)
    return Take(frames, landmarks, (rng.normal(0, 0.1, length) * np.linspace(0.5, 1, length)).astype(np.float32), fps)


@pytest.mark.parametrize("kind", ["swap", "mouth", "reanimation"])
def test_a_forged_face_changes_its_pictures_where_the_mask_says(kind):
    call, other, part = take(1), take(2), range(20, 30)
    donors = call.wides(range(20)), other.wides(range(0, 50, 5))
    shown, masks = forge_face(call, part, kind, donors, seed=3)
    assert masks.shape == (10, 128 // MASK_CELL_PX, 112 // MASK_CELL_PX)
    whole = np.stack([cv2.resize(mask, (112, 128), interpolation=cv2.INTER_LINEAR) for mask in masks])
    changed = np.abs(np.stack(shown).astype(int) - np.stack(call.frames[20:30])).max(3)
    assert changed[whole > 200].mean() > 3
    assert changed[cv2.dilate(whole.transpose(1, 2, 0), np.ones((9, 9))).transpose(2, 0, 1) == 0].max() <= 1
    again = forge_face(call, part, kind, donors, seed=3)
    assert (np.stack(again[0]) == np.stack(shown)).all()


def test_the_region_keeps_its_place_on_the_face():
    call = take(1)
    _, masks = forge_face(call, range(10, 40), "swap", (call.wides(range(5)), take(2).wides(range(3))), seed=5)
    centres = [np.average(np.arange(masks.shape[2]), weights=mask.sum(0)) for mask in masks.astype(float)]
    drift = np.diff(centres) * MASK_CELL_PX
    assert np.abs(drift + 0.2).max() < 0.15


def test_frozen_and_looped_pictures_were_shown_before():
    call, part = take(1), range(30, 45)
    assert all(picture is call.frames[29] for picture in frozen(call, part))
    again = looped(call, part, loop_s=0.4)
    places = [next(at for at, frame in enumerate(call.frames) if frame is picture) for picture in again]
    assert len(again) == 15
    assert places[0] == 28
    assert min(places) >= 20
    assert max(places) < 30
    assert np.abs(np.diff(places)).max() == 1


def test_spliced_pictures_are_of_another_moment_and_run_on():
    call = take(1)
    shown = spliced(call, range(10, 40), range(40, 50))
    places = [next(at for at, frame in enumerate(call.frames) if frame is picture) for picture in shown]
    assert len(places) == 30
    assert set(places) == set(range(40, 50))
    assert np.abs(np.diff(places)).max() == 1


def test_a_reanimation_moves_one_still():
    call, part = take(1), range(20, 23)
    moments = call.wides(range(9))
    noise = [np.random.default_rng(place).integers(0, 255, moments[0].shape).astype(np.uint8) for place in range(9)]
    noise[4] = moments[4]  # the one in the middle
    shown = [np.stack(forge_face(call, part, "reanimation", (those, []), seed=3)[0]) for those in (moments, noise)]
    assert (shown[0] == shown[1]).all()


def test_a_sound_spliced_in_is_as_loud_and_stands_in_its_seconds_only():
    sound, other = take(1).sound, take(3).sound[:5000] * 0.2
    spliced = with_sound(sound, (0.5, 1.5), other)
    start, stop = AUDIO_RATE_HZ // 2, 3 * AUDIO_RATE_HZ // 2
    assert (spliced[:start] == sound[:start]).all()
    assert (spliced[stop:] == sound[stop:]).all()
    assert spliced[start:stop].std() == pytest.approx(sound[start:stop].std(), rel=0.05)
    assert np.abs(np.corrcoef(spliced[start:stop], sound[start:stop])[0, 1]) < 0.1


@pytest.mark.parametrize("late_s", [0.3, -0.3])
def test_a_shifted_sound_is_late_by_what_was_asked(late_s):
    sound = take(1).sound
    moved = shifted(sound, (0.6, 1.6), late_s)
    at = np.arange(int(0.7 * AUDIO_RATE_HZ), int(1.2 * AUDIO_RATE_HZ))
    assert np.corrcoef(moved[at], sound[at - round(late_s * AUDIO_RATE_HZ)])[0, 1] > 0.99
    assert (moved[: AUDIO_RATE_HZ // 2] == sound[: AUDIO_RATE_HZ // 2]).all()


def test_joined_takes_keep_pictures_and_sound_together():
    first, second = take(1), take(2)
    short = Take(second.frames, second.landmarks, second.sound[:-900], second.fps)
    call = joined([first, short])
    assert len(call.frames) == 100
    assert len(call.sound) == 4 * AUDIO_RATE_HZ
    assert np.corrcoef(call.sound[2 * AUDIO_RATE_HZ + 500 : 3 * AUDIO_RATE_HZ], second.sound[500:AUDIO_RATE_HZ])[0, 1] > 0.99


def test_what_is_cut_out_keeps_its_seconds_and_its_shape():
    call = take(1)
    piece = cut_out(call, 0.4, 1.0, (320, 256), 12.5)
    assert len(piece.frames) == 12
    assert piece.frames[0].shape == (256, 320, 3)
    assert (piece.sound == call.sound[round(0.4 * AUDIO_RATE_HZ) :][: len(piece.sound)]).all()
    assert len(piece.sound) == 12 * AUDIO_RATE_HZ / 12.5
    left = (320 - 224) // 2
    assert piece.frames[0][:, :left].max() == 0
    middle = piece.frames[3][:, left : left + 224].astype(int)
    assert np.abs(middle - cv2.resize(call.frames[16], (224, 256), interpolation=cv2.INTER_AREA)).max() == 0
    assert piece.landmarks[3] == pytest.approx(call.landmarks[16] * 2 + [left, 0])


def test_steadied_landmarks_tremble_less_and_do_not_lag():
    path = take(1).landmarks
    noisy = path + np.random.default_rng(1).normal(0, 1, path.shape).astype(np.float32)
    assert np.abs(steadied(noisy) - path).mean() < 0.6 * np.abs(noisy - path).mean()
    assert np.abs(steadied(path) - path)[3:-3].max() < 1e-3


def test_labels_follow_from_the_segments():
    def of(*pairs: tuple[str, str]) -> dict[str, str]:
        return labels_of([Segment(modality, kind, 1.0, 2.0) for modality, kind in pairs])

    assert of() == {"audio": "real", "video": "real", "sync": "real"}
    assert of(("video", "swap")) == {"audio": "real", "video": "fake", "sync": ""}
    assert of(("audio", "X"), ("sync", "voice")) == {"audio": "fake", "video": "real", "sync": "fake"}
    assert of(("sync", "shift")) == {"audio": "real", "video": "real", "sync": "shift"}


def test_every_kind_and_speaker_comes_up():
    calls = list(plan(["a", "b", "c"], 2 * len(KINDS), seed=4))
    assert {kind for kind, _, _ in calls} == set(KINDS)
    assert {speaker for _, speaker, _ in calls} == {"a", "b", "c"}
    assert len({seed for _, _, seed in calls}) == len(calls)


def test_a_written_call_is_read_back(tmp_path: Path):
    call = take(1)
    frames, masks = forge_face(call, range(10, 20), "swap", (call.wides(range(3)), []), seed=1)
    segment = Segment("video", "swap", 0.4, 0.8)
    forged = Forged(call, [*call.frames[:10], *frames, *call.frames[20:]], call.sound, (segment,), (10, masks))
    write(tmp_path, "call_0000", forged, ("swap", "somebody", 7))
    write(tmp_path, "call_0001", Forged(call, call.frames, call.sound, ()), ("genuine", "somebody", 8))
    first, second = read_calls(tmp_path)
    assert first.segments == (segment,)
    assert (first.kind, first.speaker, first.seed, first.turns) == ("swap", "somebody", 7, ())
    assert second.load_masks() is None
    number, read = first.load_masks()
    assert number == 10
    assert (read == masks).all()
    shown = frames_of(first.path)
    assert len(shown) == 50
    assert first.duration_s == 2.0
    away = [
        np.abs(shown[15].astype(int) - frame).mean() for frame in (forged.frames[14], forged.frames[15], forged.frames[16], call.frames[15])
    ]
    assert np.argmin(away) == 1
    heard = read_sound(first.path)[: len(call.sound)]
    lag = int(np.argmax(np.correlate(heard[2000:20000], call.sound[3000:18000], "valid"))) - 1000
    assert abs(lag) <= 160


def test_no_calls_is_one_clear_line(tmp_path):
    with pytest.raises(PoolError, match=r"python -m export\.data\.made_calls"):
        read_calls(tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in (*KINDS, *ASKED_KINDS) if kind not in ("autoencoder", "edited")])
def test_every_kind_forges_what_it_tells(kind):
    call, part = take(1, 100), range(30, 60)
    forged = _forged(lambda rng, seconds: ("G", take(4).sound), kind, call, part, take(2, 60), np.random.default_rng(1))
    told = {segment.modality for segment in forged.segments}
    faces = {"swap", "mouth", "reanimation", "mouth+voice"}
    wanted = {"video"} if kind in faces else set()
    wanted |= {"sync"} if kind in {"dub", "shift", "frozen", "looped", "voice", "mouth+voice", "foreign", "spliced"} else set()
    wanted |= {"audio"} if kind in {"voice", "mouth+voice"} else set()
    assert told == wanted
    assert all((segment.start_s, segment.end_s) == (1.2, 2.4) for segment in forged.segments)
    changed = [at for at, (new, old) in enumerate(zip(forged.frames, call.frames, strict=True)) if (new != old).any()]
    assert set(changed) <= set(part)
    assert bool(changed) == (kind in faces | {"frozen", "looped", "spliced"})
    assert (forged.masks is not None) == (kind in faces)
    assert (forged.sound != call.sound).any() == (kind in {"dub", "shift", "voice", "mouth+voice", "foreign"})
    assert (forged.sound[: int(1.2 * AUDIO_RATE_HZ)] == call.sound[: int(1.2 * AUDIO_RATE_HZ)]).all()


@pytest.fixture(scope="module")
def held() -> Held:
    try:
        return Held(pool_folder())
    except PoolError as error:
        pytest.skip(str(error))


@pytest.mark.pool
def test_a_call_of_the_pool_is_forged_where_it_says(held: Held):
    speaker = next(iter(held.clips))
    call = make(held, "dub", speaker, 1)
    segment = call.segments[0]
    assert EDGE_S - 0.1 <= segment.start_s < segment.end_s <= call.take.duration_s - EDGE_S + 0.1
    inside = slice(*(round(each * AUDIO_RATE_HZ) for each in (segment.start_s + 0.1, segment.end_s - 0.1)))
    before = slice(0, round((segment.start_s - 0.1) * AUDIO_RATE_HZ))
    assert (call.sound[before] == call.take.sound[before]).all()
    assert abs(np.corrcoef(call.sound[inside], call.take.sound[inside])[0, 1]) < 0.2
    assert json.dumps(make(held, "dub", speaker, 1).segments[0].start_s) == json.dumps(segment.start_s)


@pytest.mark.pool
def test_an_edited_call_shows_people_by_turns(held: Held):
    call = make(held, "edited", next(iter(held.clips)), 1)
    assert call.segments == ()
    assert call.take.duration_s >= 14
    assert len(call.sound) == pytest.approx(call.take.duration_s * AUDIO_RATE_HZ, abs=AUDIO_RATE_HZ / 25)
    jumps = np.abs(np.diff(np.stack([frame[::20, ::20] for frame in call.frames]).astype(int), axis=0)).mean((1, 2, 3))
    assert (jumps > 25).sum() >= 2

"""Pictures through calls and distortions, on synthetic frames."""

import cv2
import numpy as np
import pytest

from export.data.degrade_video import DEGRADATIONS, DISTORTIONS, as_in_a_call
from export.data.video_codec import CODECS, bits_for, through_video_codec

LEVELS = (1, 2, 3, 4, 5)


def clip(count: int = 24, height: int = 120, width: int = 160) -> list[np.ndarray]:
    """A textured picture that moves by 2 px a frame."""
    rng = np.random.default_rng(1)
    wall = cv2.resize(rng.normal(120, 50, (24, 40, 3)).astype(np.float32), (width + 2 * count, height), interpolation=cv2.INTER_CUBIC)
    wall = np.clip(wall + rng.normal(0, 6, wall.shape), 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(wall[:, 2 * i : 2 * i + width]) for i in range(count)]


def off(shown: list[np.ndarray], sent: list[np.ndarray]) -> float:
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(shown, sent, strict=True)]))


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("level", [1, 5])
def test_as_many_pictures_of_the_same_size_come_back_the_same_each_time(name, level):
    frames = clip(height=119)
    first, second = (DEGRADATIONS[name](frames, np.random.default_rng(3), level) for _ in range(2))
    assert [each.shape for each in first] == [each.shape for each in frames]
    assert all(each.dtype == np.uint8 for each in first)
    assert off(first, second) == 0
    assert (frames[5] == clip(height=119)[5]).all()


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_higher_level_is_further_from_what_was_sent(name):
    frames = clip(60)
    mild, hard = (np.mean([off(DEGRADATIONS[name](frames, np.random.default_rng(s), level), frames) for s in range(4)]) for level in (1, 5))
    assert 0 <= mild < hard


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_keeps_order_and_content(codec):
    frames = clip(12)
    shown = through_video_codec(frames, codec, bits_per_s=2_000_000)
    for index, picture in enumerate(shown):
        nearest = min(range(12), key=lambda other: np.abs(frames[other].astype(int) - picture).mean())
        assert nearest == index
    assert off(shown, frames) < 10


def test_a_lost_packet_spoils_what_follows_and_nothing_before():
    frames = clip(20)
    whole = through_video_codec(frames, "h264", bits_per_s=2_000_000)
    torn = through_video_codec(frames, "h264", bits_per_s=2_000_000, lost={8})
    assert off(torn[:8], whole[:8]) == 0
    assert (torn[8] == torn[7]).all()
    assert off(torn[9:12], whole[9:12]) > 0.5


def test_bitrates_follow_the_size_of_the_picture():
    assert bits_for(np.zeros((360, 640, 3), np.uint8), 400) == 400_000
    assert bits_for(np.zeros((180, 320, 3), np.uint8), 400) == 100_000
    assert bits_for(np.zeros((8, 8, 3), np.uint8), 400) == 16_000


def test_frozen_and_slowed_pictures_are_pictures_that_were_sent():
    frames = clip(50)
    for name, fresh in (("freeze", 30), ("rate", 20)):
        shown = DEGRADATIONS[name](frames, np.random.default_rng(2), 5)
        places = [next(i for i, frame in enumerate(frames) if frame is picture) for picture in shown]
        assert places == sorted(places)
        assert abs(len(set(places)) - fresh) <= 3, name


def test_a_call_is_drawn_from_its_seed():
    frames = clip(10)
    first, second, other = (as_in_a_call(frames, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert off(first, second) == 0
    assert off(first, other) > 0
    assert off(first, frames) > 0


@pytest.mark.parametrize("name", DISTORTIONS)
def test_distortions_grow_with_their_level_and_repeat(name):
    frame = clip(1)[0]
    away = [np.abs(DISTORTIONS[name](frame, level).astype(int) - frame).mean() for level in LEVELS]
    assert away[0] > 0.1
    assert away == sorted(away)
    assert (DISTORTIONS[name](frame, 3) == DISTORTIONS[name](frame, 3)).all()
    assert DISTORTIONS[name](frame, 1).shape == frame.shape


def test_the_suite_is_seven_by_five():
    assert len(DISTORTIONS) == 7

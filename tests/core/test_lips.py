"""Which lips and voices are not compared at all."""

import numpy as np
from numpy.typing import NDArray

from monitor.inference.lips import LOST_STEPS, covered, lips_move, lips_speak, lost, voice_speaks, why_mute
from monitor.media import LipsAndVoice

STEPS = 60
SEEN = np.ones(STEPS, np.bool_)
TURNS = np.random.default_rng(3).standard_normal((STEPS, 8))
STILL = np.random.default_rng(0).integers(60, 140, (1, 64, 64)).repeat(STEPS, 0).astype(np.float32)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


SPEAKING, SLOW = unit(TURNS), unit(np.cumsum(0.02 * TURNS, axis=0) + 1.0)


def talking() -> NDArray[np.float32]:
    mouths = STILL.copy()
    mouths[::2, 30:50, 20:44] += 30
    return mouths


def test_still_lips_do_not_talk() -> None:
    assert not lips_move(STILL)
    assert not lips_move(STILL + np.arange(STEPS, dtype=np.float32)[:, None, None]), "a lamp is no speech"
    assert lips_move(talking())


def test_a_sheet_of_paper_before_the_mouth_is_noticed_and_a_lamp_is_none() -> None:
    assert not covered(talking())
    assert not covered(STILL * np.linspace(0.8, 1.2, STEPS, dtype=np.float32)[:, None, None])
    behind = talking()
    behind[:25] = np.where(np.arange(64) < 32, 40.0, 220.0).astype(np.float32)
    assert covered(behind)


def test_lips_that_grimace_and_say_nothing_are_told_from_speaking_ones() -> None:
    assert lips_speak(LipsAndVoice(SPEAKING, SPEAKING, SEEN, SEEN))
    assert not lips_speak(LipsAndVoice(SLOW, SPEAKING, SEEN, SEEN))


def test_music_that_was_taken_for_speech_is_no_voice() -> None:
    assert voice_speaks(LipsAndVoice(SPEAKING, SPEAKING, SEEN, SEEN))
    assert not voice_speaks(LipsAndVoice(SPEAKING, SLOW, SEEN, SEEN))
    assert not voice_speaks(LipsAndVoice(SPEAKING, SPEAKING, SEEN, ~SEEN)), "nothing is said"


def test_only_lips_that_talk_beside_a_voice_are_compared() -> None:
    both = LipsAndVoice(SPEAKING, SPEAKING, SEEN, SEEN)
    assert why_mute(talking(), both) is None
    assert why_mute(STILL, both) == "not_speaking"


def test_lips_of_a_face_that_was_lost_for_a_moment_are_not_compared() -> None:
    blink, away, late = SEEN.copy(), SEEN.copy(), SEEN.copy()
    blink[20 : 20 + LOST_STEPS - 1] = away[20:30] = late[:30] = False
    assert [lost(seen) for seen in (SEEN, blink, away, late, ~SEEN)] == [False, False, True, False, False]
    assert why_mute(talking(), LipsAndVoice(SPEAKING, SPEAKING, away, SEEN)) == "face_blurred"

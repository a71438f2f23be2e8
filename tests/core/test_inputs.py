from dataclasses import replace

import numpy as np
import pytest

from monitor.inference import inputs
from monitor.media import FaceView, FrameFaces, MediaInfo, Window
from monitor.speech.features import last_voice, log_spectrum

INFO = MediaInfo(has_audio=True, has_video=True, sync_source="container")
BOX = (0.2, 0.2, 0.6, 0.7)


def window(frames=(), samples=None, speech=None, start_s: float = 0.0, end_s: float = 2.4, fresh_from_s: float = 0.0) -> Window:
    speech = np.zeros(120, np.bool_) if speech is None else speech
    return Window(start_s, end_s, fresh_from_s, INFO, samples, speech, tuple(frames))


def seen(times, track_id: int = 0, value=lambda t: 0, face: bool = False) -> list[FrameFaces]:
    return [
        FrameFaces(
            float(t),
            (FaceView(track_id, BOX, np.zeros((128, 128, 3), np.uint8) if face else None, np.full((64, 64), value(t), np.uint8)),),
        )
        for t in times
    ]


def test_mouths_of_any_frame_rate_come_at_25_hz() -> None:
    for rate in (12, 25, 30):
        mouths, known = inputs.mouths_of(window(seen(np.arange(0, 2.4, 1 / rate), value=lambda t: round(t * 100))), 0)
        assert mouths.shape == (60, 64, 64)
        assert known.all()
        assert np.abs(mouths[:, 0, 0] - np.arange(60) * 4).max() <= 100 / rate / 2 + 1


def test_a_gap_in_the_picture_is_known() -> None:
    times = np.concatenate([np.arange(0, 1.0, 0.04), np.arange(1.8, 2.4, 0.04)])
    _, known = inputs.mouths_of(window(seen(times)), 0)
    assert not known[29:42].any()
    assert known[:25].all()


@pytest.mark.parametrize("times", [[], np.arange(0, 0.3, 0.04)])
def test_too_few_mouths_are_none(times) -> None:
    assert inputs.mouths_of(window(seen(times)), 0) is None


def test_only_fresh_unrefused_faces_are_judged() -> None:
    frames = [*seen([0.5], 0, face=True), *seen([1.5], 0, face=True), *seen([1.6], 1, face=True)]
    frames.append(FrameFaces(1.8, (FaceView(2, BOX, None, None, "face_blurred"),)))
    late = window(frames, fresh_from_s=1.2)
    assert {track: [time_s for time_s, _ in inputs.looked_at(late, track)] for track in range(3)} == {0: [1.5], 1: [1.6], 2: []}


def test_all_that_was_cut_out_in_the_fresh_part_is_judged() -> None:
    frames = seen([0.2, 1.3], 0, face=True) + seen([1.4], 0)
    assert [time_s for time_s, _ in inputs.looked_at(window(frames), 0)] == [0.2, 1.3]
    assert [time_s for time_s, _ in inputs.looked_at(window(frames, fresh_from_s=0.9), 0)] == [1.3]


@pytest.mark.parametrize(("pictures", "company"), [(0, False), (3, False), (10, True), (60, True)])
def test_two_faces_at_the_same_time_are_company(pictures: int, company: bool) -> None:
    alone = seen(np.arange(60) / 25)
    refused = FaceView(1, BOX, reason="face_too_small")
    shared = [replace(frame, faces=(*frame.faces, refused)) if at < pictures else frame for at, frame in enumerate(alone)]
    assert inputs.in_company(window(shared)) is company
    assert not inputs.in_company(window())


@pytest.mark.parametrize("origin_s", [0.0, 0.5, 1.2, 7.77])
def test_lips_are_due_in_every_second_window(origin_s: float) -> None:
    ends_s = [origin_s + 2.4 + 1.2 * index for index in range(1, 9)]
    due = [inputs.lips_are_due(window(start_s=end_s - 2.4, end_s=end_s, fresh_from_s=end_s - 1.2)) for end_s in ends_s]
    assert due in ([True, False] * 4, [False, True] * 4)
    assert inputs.lips_are_due(window(start_s=origin_s, end_s=origin_s + 2.4, fresh_from_s=origin_s)), "the first one always"


def test_lips_at_the_end_of_a_file_are_not_left_out() -> None:
    assert not inputs.lips_are_due(window(start_s=1.2, end_s=3.6, fresh_from_s=2.4))
    assert inputs.lips_are_due(replace(window(start_s=1.2, end_s=3.6, fresh_from_s=2.4), last=True))
    assert inputs.lips_are_due(replace(window(start_s=1.6, end_s=4.0, fresh_from_s=3.6), last=True)), "2.4 to 4.0 were not seen"
    assert not inputs.lips_are_due(replace(window(start_s=2.7, end_s=5.1, fresh_from_s=4.8), last=True)), "4.8 to 5.1 are too few"


def test_why_a_voice_is_not_judged() -> None:
    sound = np.zeros(38400, np.float32)
    assert inputs.why_no_voice(window()) == "no_audio_track"
    assert inputs.why_no_voice(window(samples=sound)) == "no_speech"
    spoken = np.arange(120) < 60
    assert inputs.why_no_voice(window(samples=sound, speech=spoken)) is None
    assert inputs.why_no_voice(window(samples=sound, speech=spoken, fresh_from_s=1.4)) == "no_speech", "only old speech"


def test_mel_and_speech_steps_cover_the_mouths_seconds() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 38400).astype(np.float32)
    marked = window(samples=sound, speech=np.arange(120) < 40)
    assert inputs.mel_of(marked, 60).shape == (240, 64)
    assert inputs.speaking_steps(marked, 60).sum() == 20
    assert {name: array.shape for name, array in inputs.voice_of(marked).items()} == {"log_spectrum": (1, 240, 256), "samples": (1, 38_400)}


def test_the_voice_net_hears_each_second_once() -> None:
    """All of the first window, the last half of each later one; local logits stand at the times that they are about."""
    sound = np.random.default_rng(0).normal(0, 0.1, 38400).astype(np.float32)
    first = window(samples=sound, speech=np.ones(120, np.bool_))
    later = replace(first, fresh_from_s=1.2)
    whole, half = (inputs.voice_of(each) for each in (first, later))
    assert np.array_equal(whole["samples"], half["samples"])
    assert half["log_spectrum"].shape == (1, 120, 256)
    assert np.allclose(half["log_spectrum"][0, 2:], whole["log_spectrum"][0, 122:], atol=1e-5)
    assert inputs.voice_times_s(first, 15) == pytest.approx(0.08 + 0.16 * np.arange(15))
    assert inputs.voice_times_s(later, 7) == pytest.approx(1.28 + 0.16 * np.arange(7))
    paused = replace(later, speech=np.arange(120) < 100)
    assert inputs.voice_times_s(paused, 7) == pytest.approx(0.88 + 0.16 * np.arange(7)), "speech ended at 2.0 s"
    begun = replace(later, speech=np.arange(120) >= 75)
    assert np.isnan(inputs.voice_times_s(begun, 7)).tolist() == [True] * 2 + [False] * 5, "the first .3 s repeat the end"


def test_the_last_half_of_what_the_voice_net_hears_was_said_last() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 38400).astype(np.float32)
    later = window(samples=sound, speech=np.arange(120) >= 40, fresh_from_s=1.2)
    heard = last_voice(later.samples, later.speech)
    assert np.allclose(heard / heard[-1], sound[19200:] / sound[-1], rtol=1e-3)
    assert np.array_equal(inputs.voice_of(later)["log_spectrum"][0], log_spectrum(heard))

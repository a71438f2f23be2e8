"""What calibration rests on: fits that ignore what they should not see, and rehearsals whose truth is known."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from export.calibrate import looked, tail_from
from export.data.held_out import HeldClip
from export.data.worn import draw_wear, worn_picture, worn_sound
from export.evidence import SeenWindow
from export.fitting import Looked, auc_interval, calibration_error, cross_fit, fit, helpful, log_loss, split_logits, visible
from export.rehearsal import CALL_S, at_most, cast, correlation_of, delays_s, genuine_calls, genuine_cuts, incidents
from export.training import auc
from monitor.alerts.calibration import Logistic, ModalityCalibration
from monitor.alerts.policy import Policy, default_policy
from monitor.media import LipsAndVoice

NAMES = [("voice",)]


def clips(people: int, each: int, seed: int = 0, poor_tells_nothing: bool = False) -> list[Looked]:
    """Scores of 3 windows a clip: a class 4 apart, a person's level and noise of 1 each; half of the clips have 5 dB, half 30."""
    rng = np.random.default_rng(seed)
    found = []
    for person in range(people):
        fake, level, snr_db = bool(person % 2), rng.normal(), 5.0 if person % 4 < 2 else 30.0
        told = 0.0 if poor_tells_nothing and snr_db < 10 else 4.0
        for _ in range(each):
            raw = told * fake + level + rng.normal(size=3)
            windows = tuple(({"voice": float(value), "snr_db": snr_db}, 1.2) for value in raw)
            found.append(Looked(windows, fake, f"p{person}", f"g{person}" if fake else ""))
    return found


def test_a_fit_on_people_is_calibrated_for_others() -> None:
    fitted = fit(clips(60, 4), NAMES, (), 0.5)
    genuine, forged = split_logits([(clip, fitted) for clip in clips(200, 1, seed=9)])
    assert auc(genuine, forged) > 0.97
    assert calibration_error([(clip, fitted) for clip in clips(200, 1, seed=9)]) < 0.06


def test_no_clip_is_judged_by_a_fit_that_saw_its_person_or_generator() -> None:
    some = clips(20, 3)
    for clip, fitted in cross_fit(some, NAMES, (), 0.5):
        mine = [each for each in some if each.person == clip.person]
        louder = [
            Looked(tuple(({**f, "voice": f["voice"] + 50}, s) for f, s in each.windows), each.fake, each.person, each.generator)
            for each in mine
        ]
        rest = [each for each in some if each.person != clip.person]
        again = next(other for each, other in cross_fit([*rest, *louder], NAMES, (), 0.5) if each.person == clip.person)
        assert again.fusions == fitted.fusions
        break


def test_voices_are_counted_in_seconds_of_speech_and_faces_in_seconds_looked_at() -> None:
    halting = SeenWindow(1.2, 2.4, 3.6, 0.5, {"voice": 1.0}, {"face": 2.0}, None)
    silent = replace(halting, speech_s=0.0, voice={})
    clip = HeldClip(Path("clip.mp4"), False, "somebody", "")
    heard, seen = (looked([(clip, [halting, silent])], name)[0].windows for name in ("audio", "video"))
    assert heard == (({"voice": 1.0}, 0.5),)
    assert [span_s for _, span_s in seen] == pytest.approx([1.2, 1.2])


def test_a_quality_is_kept_only_where_it_helps_and_its_trust_is_lower_where_the_model_knows_less() -> None:
    assert helpful(clips(60, 4), NAMES, ("snr_db",), 0.5)[0] == ()
    informed = clips(80, 4, poor_tells_nothing=True)
    kept, losses = helpful(informed, NAMES, ("snr_db",), 0.5)
    assert kept == ("snr_db",)
    assert losses["snr_db"] < losses["none"]
    assert fit(informed, NAMES, ("snr_db",), 0.5).conditions["snr_db"].trust > 0.2


def test_the_interval_of_an_auc_is_that_of_people_not_of_clips() -> None:
    few = clips(12, 40, poor_tells_nothing=True)
    fitted = fit(few, NAMES, (), 0.5)
    low, high = auc_interval([(clip, fitted) for clip in few])
    assert high - low > 0.005
    assert low <= auc(*split_logits([(clip, fitted) for clip in few])) <= high


def test_the_correlation_of_windows_is_measured() -> None:
    rng = np.random.default_rng(1)
    groups = [list(rng.normal() * 2 + rng.normal(size=6)) for _ in range(300)]
    assert correlation_of(groups, groups) == pytest.approx(0.8, abs=0.04)
    assert correlation_of(groups[:40], [[group[0]] for group in groups]) == pytest.approx(0.8, abs=0.08), "few with many, many with one"


def test_the_threshold_for_a_share_of_clips_rests_on_more_than_the_strangest_of_them() -> None:
    rng = np.random.default_rng(3)
    values, even = rng.exponential(1.0, 4000), np.full(4000, 1 / 4000)
    assert tail_from(values, even, 0.03) == pytest.approx(np.log(1 / 0.03), abs=0.1)
    heavy = np.where(np.arange(4000) < 2000, 3.0, 1.0)
    assert tail_from(np.where(np.arange(4000) < 2000, values + 1, values), heavy, 0.03) > tail_from(values, even, 0.03) + 0.5

    drawn = [rng.exponential(1.0, 150) for _ in range(200)]
    by_tail = np.std([tail_from(each, np.full(150, 1 / 150), 0.03) for each in drawn])
    assert by_tail < 0.8 * np.std([np.quantile(each, 0.97, method="inverted_cdf") for each in drawn])


def test_rehearsed_calls_keep_a_budget_at_a_high_threshold_and_break_it_at_a_low_one() -> None:
    rng = np.random.default_rng(2)
    genuine = cast([list(-2 + 1.4 * rng.normal() + 1.4 * rng.normal(size=5)) for _ in range(100)], correlation=0.5)
    policy = Policy(0.5, correlation=0.5, spread=2.0)
    calls = genuine_calls(genuine, policy, hours=3.0)
    assert sum(call[-1].time_s for call in calls) == pytest.approx(3 * 3600)
    assert incidents(calls, policy, 0.5) > incidents(calls, policy, 0.9) >= incidents(calls, policy, 0.9999) == 0


def test_calls_with_scene_cuts_are_quiet_where_lips_fit_and_loud_where_they_do_not() -> None:
    rng, seen = np.random.default_rng(5), np.ones(60, np.bool_)
    spoken = [np.cumsum(rng.standard_normal((63, 16)), 0)[3:].astype(np.float32) for _ in range(8)]
    judged = ModalityCalibration(
        fusions=(Logistic(weights={"fit": -3.5}, bias=5.5), Logistic(weights={"agreement": -3.0}, bias=4.0)), threshold=0.8, suspicious=0.5
    )
    policy = default_policy("sync", judged)
    fitting = [[LipsAndVoice(voice, voice, seen, seen)] for voice in spoken]
    foreign = [[LipsAndVoice(lips, voice, seen, seen)] for lips, voice in pairwise(spoken)]
    one_odd = [*fitting, foreign[0]]  # which would be two odd looks in a row, did it ever follow itself
    quiet, loud, alone = (genuine_cuts(some, policy, judged, hours=0.17) for some in (one_odd, foreign, [foreign[0], foreign[0][:]]))
    assert [round(call[-1].time_s / CALL_S, 2) for call in quiet] == [1.0]
    assert incidents(quiet, policy, 0.5) == 0
    assert incidents(loud, policy, 0.5) > 0
    assert incidents(alone, policy, 0.5) > 0


def test_a_clear_forgery_is_noticed_soon_and_a_faint_one_late_or_never() -> None:
    rng = np.random.default_rng(2)
    groups = [list(rng.normal() + rng.normal(size=5)) for _ in range(50)]
    genuine = cast([[value - 4 for value in each] for each in groups], 0.5)
    clear, faint = (
        cast([[value + 4 for value in each] for each in groups], 0.5),
        cast([[value - 3 for value in each] for each in groups], 0.5),
    )
    policy = Policy(0.9, correlation=0.5, spread=2.8)
    noticed = [each for each in delays_s(genuine, clear, policy, after_s=7.2, people=40) if each is not None]
    assert len(noticed) > 35
    assert np.median(noticed) <= 3.7
    assert sum(each is None for each in delays_s(genuine, faint, policy, after_s=7.2, people=40)) > 30


def test_forgeries_that_models_cannot_see_do_not_make_them_doubt_those_that_they_can() -> None:
    rng = np.random.default_rng(6)
    some = [
        Looked(tuple(({"voice": float(3.5 * (index % 8 == 0) + level + rng.normal() / 3)}, 1.2) for _ in range(3)), fake, f"p{index}", "")
        for index in range(1200)
        for fake, level in [(index % 4 == 0, rng.normal())]
    ]
    plain = fit(some, NAMES, (), 0.9)
    pairs = [(clip, plain) for clip in some]
    looks = visible(pairs, 0.9)
    assert 0.3 < looks.share < 0.75, "every second forgery can be seen"
    both = [(clip, replace(plain, visible=looks)) for clip in some]
    assert log_loss(both) < log_loss(pairs)
    assert max(split_logits(both)[1]) > max(split_logits(pairs)[1])


def test_no_incident_in_ten_hours_is_at_most_three_tenths_an_hour() -> None:
    assert at_most(0, 10.0) == pytest.approx(0.2996, abs=0.001)


def test_wear_makes_pictures_smaller_and_sound_narrower_and_noisy() -> None:
    wear = draw_wear(3)
    picture = np.random.default_rng(0).integers(0, 255, (100, 80, 3)).astype(np.uint8)
    assert worn_picture(picture, wear).shape == (round(100 * wear.scale), round(80 * wear.scale), 3)
    tone = np.sin(2 * np.pi * 500 * np.arange(16000) / 16000).astype(np.float32)
    worn = worn_sound(tone, wear, 3)
    assert 10 * np.log10(np.mean(worn**2)) == pytest.approx(wear.level_db, abs=1.5)
    assert np.array_equal(worn, worn_sound(tone, wear, 3))
    assert draw_wear(3) == wear != draw_wear(4)

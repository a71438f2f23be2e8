"""StreamClock: wraps, late tracks, reports that come, lie, step and stop."""

import random

import pytest

from monitor.clock import RTP_WRAP, StreamClock
from monitor.sources.clocks import FileClock

RATES_HZ = {"audio": 48_000, "video": 90_000}
NTP_S = 3_900_000_000.0


def ticks(track: str, captured_s: float, start: int) -> int:
    return (start + round(captured_s * RATES_HZ[track])) % RTP_WRAP


def both(late_s: float = 0.7) -> StreamClock:
    """Audio captured from second 0 arrives 20 ms later; video captured from `late_s` arrives 250 ms after its capture."""
    clock = StreamClock(RATES_HZ)
    for n in range(150):
        captured_s = n * 0.02
        clock.time_s("audio", ticks("audio", captured_s, 5_000), 100 + captured_s + 0.02)
        if captured_s >= late_s and n % 2 == 0:
            clock.time_s("video", ticks("video", captured_s, 77_000), 100 + captured_s + 0.25)
    return clock


def test_first_media_is_second_zero_and_time_follows_the_timestamps():
    clock = StreamClock(RATES_HZ)
    assert clock.time_s("audio", 1_000, 55.0) == 0.0
    assert clock.time_s("audio", 1_000 + 48_000, 56.3) == pytest.approx(1.0)


def test_timestamps_wrap_after_32_bits():
    clock = StreamClock({"audio": 48_000})
    start = RTP_WRAP - 480
    times = [clock.time_s("audio", (start + n * 960) % RTP_WRAP, n * 0.02) for n in range(100)]
    assert times == pytest.approx([n * 0.02 for n in range(100)])


def test_two_tracks_are_unsynchronised_until_both_have_a_report():
    clock = both()
    assert clock.sync_source == "arrival"
    clock.report("audio", ticks("audio", 2, 5_000), NTP_S + 2)
    assert clock.sync_source == "arrival"
    clock.report("video", ticks("video", 2, 77_000), NTP_S + 2)
    assert clock.sync_source == "sender_report"


@pytest.mark.parametrize("late_s", [0.0, 0.7, 2.0])
def test_offset_of_a_late_video_is_recovered_from_reports(late_s):
    clock = both(late_s)
    clock.report("audio", ticks("audio", 2, 5_000), NTP_S + 2)
    clock.report("video", ticks("video", 2, 77_000), NTP_S + 2)
    audio_s = clock.time_s("audio", ticks("audio", 3, 5_000), 103.02)
    video_s = clock.time_s("video", ticks("video", 3, 77_000), 103.25)
    assert audio_s == pytest.approx(video_s, abs=0.001)


def test_late_stamps_in_reports_are_averaged_out_below_40_ms():
    clock = both()
    for n in range(6):  # a sender that reports the last packet's timestamp: up to one frame old, as aiortc does
        clock.report("audio", ticks("audio", 2 + n, 5_000), NTP_S + 2 + n + (0.002, 0.019, 0.011, 0.015, 0.006, 0.018)[n])
        clock.report("video", ticks("video", 2 + n, 77_000), NTP_S + 2 + n + (0.031, 0.004, 0.025, 0.012, 0.033, 0.02)[n])
    audio_s = clock.time_s("audio", ticks("audio", 8, 5_000), 108.02)
    video_s = clock.time_s("video", ticks("video", 8, 77_000), 108.25)
    assert audio_s == pytest.approx(video_s, abs=0.015)


@pytest.mark.parametrize("seed", range(20))
def test_after_3_s_of_reports_the_offset_is_right_within_20_ms(seed):
    """Media arrives up to 0.4 s late; of the reports, one a second, most are stamped in time and some up to 60 ms late."""
    chance = random.Random(seed)
    clock = StreamClock(RATES_HZ)
    late_s, worst_s = chance.uniform(0.0, 2.0), 0.0
    times_s: dict[str, float] = {}
    for n in range(500):
        captured_s = n * 0.02
        for track, start, from_s in (("audio", 5_000, 0.0), ("video", 77_000, late_s)):
            if captured_s < from_s:
                continue
            times_s[track] = clock.time_s(track, ticks(track, captured_s, start), 100 + captured_s + chance.uniform(0, 0.4))
            if n % 50 == 20:
                clock.report(track, ticks(track, captured_s, start), NTP_S + captured_s + chance.choice((0, 0.002, 0.06)))
        if captured_s > late_s + 4:
            worst_s = max(worst_s, abs(times_s["video"] - times_s["audio"]))
    assert clock.sync_source == "sender_report"
    assert worst_s <= 0.02


def test_reports_and_media_go_on_over_the_32_bit_wrap():
    clock = StreamClock(RATES_HZ)
    starts = {"audio": RTP_WRAP - 3 * 48_000, "video": RTP_WRAP - 5 * 90_000}
    for n in range(500):
        captured_s = n * 0.02
        times_s = [clock.time_s(track, ticks(track, captured_s, start), 7 + captured_s) for track, start in starts.items()]
        for track, start in starts.items():
            if n % 50 == 49:
                clock.report(track, ticks(track, captured_s, start), NTP_S + captured_s)
        assert times_s == pytest.approx([captured_s] * 2, abs=0.001)
    assert clock.sync_source == "sender_report"


def test_one_late_report_changes_nothing():
    """A media server makes its reports from the arrival of the newest packet, which a bad network may have held back."""
    clock = both()
    for n in range(10):
        for track, start in (("audio", 5_000), ("video", 77_000)):
            clock.report(track, ticks(track, 3 + n, start), NTP_S + 3 + n + (0.9 if (n, track) == (6, "audio") else 0.0))
        assert clock.sync_source == "sender_report"
        audio_s = clock.time_s("audio", ticks("audio", 3.5 + n, 5_000), 103.52 + n)
        assert audio_s == pytest.approx(clock.time_s("video", ticks("video", 3.5 + n, 77_000), 103.75 + n), abs=0.001)


@pytest.mark.parametrize("counted", [True, False])
def test_a_microphone_that_was_muted(counted):
    """Chromium's timestamps of sound do not count the pause: nothing is said of sync until a report says what they mean now."""
    clock = aligned()
    for n in range(75):
        clock.time_s("video", ticks("video", 3 + n * 0.04, 77_000), 103.25 + n * 0.04)
    start = 5_000 if counted else 5_000 - 3 * 48_000
    audio_s = clock.time_s("audio", ticks("audio", 6, start), 106.02)
    video_s = clock.time_s("video", ticks("video", 6, 77_000), 106.25)
    assert audio_s == pytest.approx(video_s, abs=0.3)
    assert clock.sync_source == ("sender_report" if counted else "arrival")
    clock.report("audio", ticks("audio", 7, start), NTP_S + 7)
    assert clock.sync_source == "sender_report"
    audio_s = clock.time_s("audio", ticks("audio", 8, start), 108.02)
    assert audio_s == pytest.approx(clock.time_s("video", ticks("video", 8, 77_000), 108.25), abs=0.001)


def test_no_track_ever_goes_back():
    clock = StreamClock(RATES_HZ)
    newest = {"audio": 0.0, "video": 0.0}
    for n in range(600):
        captured_s = n * 0.02
        for track, start, delay_s in (("audio", 9, 0.4), ("video", 9, 0.1)):
            time_s = clock.time_s(track, ticks(track, captured_s, start), 7 + captured_s + delay_s)
            assert time_s >= newest[track]
            newest[track] = time_s
            if n % 50 == 49:
                clock.report(track, ticks(track, captured_s, start), NTP_S + captured_s + 0.01 * (n % 3))
    assert newest["audio"] == pytest.approx(newest["video"], abs=0.03)


def test_lost_reports_change_nothing():
    clock = both()
    for track, start in (("audio", 5_000), ("video", 77_000)):
        clock.report(track, ticks(track, 2, start), NTP_S + 2)
    for n in range(3_000):
        captured_s = 3 + n * 0.02
        audio_s = clock.time_s("audio", ticks("audio", captured_s, 5_000), 100 + captured_s)
        video_s = clock.time_s("video", ticks("video", captured_s, 77_000), 100 + captured_s)
    assert clock.sync_source == "sender_report"
    assert audio_s == pytest.approx(video_s, abs=0.001)


@pytest.mark.parametrize("fast", [1.0005, 0.9995])
def test_drift_between_two_sampling_clocks_is_followed(fast):
    """500 ppm: 0.3 s off after ten minutes if nobody looked."""
    clock = StreamClock(RATES_HZ)
    for n in range(600):
        audio_s = clock.time_s("audio", ticks("audio", n * fast, 1), n + 0.0)
        video_s = clock.time_s("video", ticks("video", n, 1), n + 0.0)
        if n % 5 == 4:
            clock.report("audio", ticks("audio", n * fast, 1), NTP_S + n)
            clock.report("video", ticks("video", n, 1), NTP_S + n)
    assert audio_s == pytest.approx(video_s, abs=0.02)


def test_a_new_ssrc_resets_its_track_and_the_next_report_aligns_again():
    clock = both()
    clock.report("audio", ticks("audio", 2, 5_000), NTP_S + 2, ssrc=1)
    clock.report("video", ticks("video", 2, 77_000), NTP_S + 2, ssrc=2)
    before_s = clock.time_s("video", ticks("video", 3, 77_000), 103.25, ssrc=2)
    after_s = clock.time_s("video", ticks("video", 3.04, 123_456_789), 103.29, ssrc=3)
    assert after_s == pytest.approx(before_s + 0.04, abs=0.3)
    assert clock.sync_source == "arrival"
    clock.report("video", ticks("video", 3, 123_456_789), NTP_S + 3, ssrc=3)
    clock.report("audio", ticks("audio", 3, 5_000), NTP_S + 3, ssrc=1)
    assert clock.sync_source == "sender_report"
    audio_s = clock.time_s("audio", ticks("audio", 4, 5_000), 104.02, ssrc=1)
    video_s = clock.time_s("video", ticks("video", 4, 123_456_789), 104.25, ssrc=3)
    assert audio_s == pytest.approx(video_s, abs=0.001)


def test_new_numbering_without_a_new_ssrc_is_noticed():
    clock = StreamClock({"audio": 48_000})
    clock.time_s("audio", 1_000, 10.0)
    assert clock.time_s("audio", 2_000_000_000, 10.5) == pytest.approx(0.5)


def test_a_sender_that_sets_its_wall_clock_is_aligned_anew_by_the_next_pair():
    clock = both()
    for step_s, at_s in ((0, 2), (3_600, 3)):
        clock.report("audio", ticks("audio", at_s, 5_000), NTP_S + step_s + at_s)
        if step_s:
            assert clock.sync_source == "arrival"
        clock.report("video", ticks("video", at_s, 77_000), NTP_S + step_s + at_s)
        assert clock.sync_source == "sender_report"
    audio_s = clock.time_s("audio", ticks("audio", 4, 5_000), 104.02)
    assert audio_s == pytest.approx(clock.time_s("video", ticks("video", 4, 77_000), 104.25), abs=0.001)
    assert audio_s < 6


def test_a_report_before_any_media_is_kept():
    clock = StreamClock(RATES_HZ)
    clock.report("video", 90_000, NTP_S + 1)
    clock.report("audio", 48_000, NTP_S + 1)
    assert clock.sync_source == "arrival"
    clock.time_s("audio", 48_000 * 2, 5.0)
    clock.time_s("video", 90_000 * 2, 5.3)
    assert clock.time_s("audio", 48_000 * 3, 6.0) == pytest.approx(clock.time_s("video", 90_000 * 3, 6.3), abs=0.001)
    assert clock.sync_source == "sender_report"


def aligned() -> StreamClock:
    """`both`, with the reports of second 2."""
    clock = both()
    clock.report("audio", ticks("audio", 2, 5_000), NTP_S + 2)
    clock.report("video", ticks("video", 2, 77_000), NTP_S + 2)
    return clock


@pytest.mark.parametrize("back_s", [1.5, 5.0, 60.0])
def test_after_a_jump_backwards_time_goes_on(back_s):
    """A sender that numbers anew, without a new SSRC: no second may pass in which nothing gets a time of its own."""
    clock = aligned()
    before_s = clock.time_s("video", ticks("video", 100, 77_000), 200.25)
    times = [clock.time_s("video", ticks("video", 100 - back_s + n * 0.04, 77_000), 200.29 + n * 0.04) for n in range(50)]
    assert times == pytest.approx([before_s + 0.04 + n * 0.04 for n in range(50)], abs=0.05)


def test_late_and_repeated_frames_move_nothing():
    clock = aligned()
    newest_s = clock.time_s("video", ticks("video", 10, 77_000), 110.25)
    for late_s in (0.0, 0.04, 0.4):
        assert clock.time_s("video", ticks("video", 10 - late_s, 77_000), 110.26) == newest_s
    assert clock.time_s("video", ticks("video", 10.04, 77_000), 110.29) == pytest.approx(newest_s + 0.04)
    assert clock.sync_source == "sender_report"


@pytest.mark.parametrize("off_s", [3.0, 30.0, 600.0])
def test_a_camera_that_was_off_comes_back_in_step(off_s):
    clock = aligned()
    for n in range(round(off_s / 0.02)):
        captured_s = 3 + n * 0.02
        clock.time_s("audio", ticks("audio", captured_s, 5_000), 100.02 + captured_s)
    back_s = 3 + off_s
    video_s = clock.time_s("video", ticks("video", back_s, 77_000), 100.25 + back_s)
    assert video_s == pytest.approx(clock.time_s("audio", ticks("audio", back_s, 5_000), 100.26 + back_s), abs=0.001)
    assert clock.sync_source == "sender_report"


def test_a_camera_whose_timestamps_stood_still_while_it_was_off_is_placed_by_arrival():
    clock = aligned()
    clock.time_s("video", ticks("video", 3, 77_000), 103.25)
    for n in range(1_500):
        audio_s = clock.time_s("audio", ticks("audio", 3 + n * 0.02, 5_000), 103.02 + n * 0.02)
    video_s = clock.time_s("video", ticks("video", 3.04, 77_000), 133.02)
    assert video_s == pytest.approx(audio_s, abs=0.1)
    assert clock.sync_source == "arrival"


def test_silence_suppression_leaves_gaps_and_keeps_step():
    """DTX sends a packet every 0.4 s; its timestamps tell how long the silence was."""
    clock = aligned()
    for n in range(20):
        captured_s = 3 + n * 0.4
        audio_s = clock.time_s("audio", ticks("audio", captured_s, 5_000), 100.02 + captured_s)
        video_s = clock.time_s("video", ticks("video", captured_s, 77_000), 100.25 + captured_s)
        assert audio_s == pytest.approx(video_s, abs=0.001)


def test_everything_muted_is_a_gap_for_both():
    clock = aligned()
    times = [
        clock.time_s(track, ticks(track, 3 + muted_s, start), 103.25 + muted_s)
        for muted_s in (0.0, 300.0)
        for track, start in (("audio", 5_000), ("video", 77_000))
    ]
    assert times[2] - times[0] == pytest.approx(300, abs=0.001)
    assert times[2] == pytest.approx(times[3], abs=0.001)


def test_a_burst_after_a_stalled_network_keeps_its_times():
    clock = aligned()
    start_s = clock.time_s("video", ticks("video", 10, 77_000), 110.25)
    times = [clock.time_s("video", ticks("video", 10.04 + n * 0.04, 77_000), 118.25) for n in range(200)]
    assert times == pytest.approx([start_s + 0.04 + n * 0.04 for n in range(200)])
    assert clock.sync_source == "sender_report"


def test_one_track_needs_no_report():
    assert StreamClock({"video": 90_000}).sync_source == "sender_report"


def test_a_file_whose_clock_starts_over_goes_on_with_both_tracks_together():
    clock = FileClock(origin_s=10.0)
    for start_s in (10.0, 10.0, 500.0, 3.0):
        for n in range(100):
            video_s = clock.time_s("video", start_s + n * 0.04)
            audio_s = clock.time_s("audio", start_s + n * 0.04 + 0.01)
            assert audio_s - video_s == pytest.approx(0.01)
    assert video_s == pytest.approx(16, abs=0.3)


def test_one_wild_timestamp_in_a_file_does_no_lasting_harm():
    clock = FileClock(origin_s=0.0)
    for n in range(100):
        video_s = clock.time_s("video", 40_000.0 if n == 50 else n * 0.04)
        audio_s = clock.time_s("audio", n * 0.04)
    assert video_s == pytest.approx(audio_s, abs=0.05)
    assert audio_s == pytest.approx(3.96, abs=0.05)

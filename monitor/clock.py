"""Puts RTP tracks on one clock: sender reports where they exist, arrival until then. Ticks never leave this file."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.media import SyncSource

RTP_WRAP = 1 << 32
LEAP_S = 10.0  # a timestamp this far from its arrival belongs to a new numbering (new sender, SSRC change)
BACK_S = 1.0  # and so does one this far behind what its track had already; less is a frame that comes late or twice
STEP_S = 5.0  # a report this far from the last ones means that the sender's wall clock was set; less, that one of them was late
REPORTS_S = 20.0  # of media: long enough for a report that was stamped in time, short enough for clocks that drift (10 ms at 500 ppm)
MOST_REPORTS = 100
PAUSE_S = 1.0  # a track silent for so long while others were heard was muted
PAUSE_LEAP_S = 0.5  # after that its timestamps may not have counted the pause; more than tracks differ in delay
HEARD_S = 0.5  # of two frames of one track further apart nothing is concluded


@dataclass(slots=True)
class _Track:
    rate_hz: float
    ssrc: int | None = None
    newest_ticks: int | None = None
    newest_s: float = 0.0
    offset_s: float | None = None  # ticks / rate + offset = time; None until the first media
    arrived_s: float | None = None
    missed_s: float = 0.0  # how long others were heard since then
    reports: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MOST_REPORTS))  # (ticks / rate, NTP time - that)

    def unwrapped(self, timestamp: int) -> int:
        """The tick nearest to the newest one that has this 32-bit timestamp."""
        if self.newest_ticks is None:
            self.newest_ticks = timestamp % RTP_WRAP
        step = (timestamp - self.newest_ticks + RTP_WRAP // 2) % RTP_WRAP - RTP_WRAP // 2
        return self.newest_ticks + step

    def report(self, seconds: float, ntp_offset_s: float) -> None:
        self.reports.append((seconds, ntp_offset_s))
        while abs(seconds - self.reports[0][0]) > REPORTS_S:
            self.reports.popleft()

    @property
    def ntp_offset_s(self) -> float:
        """Least of the latest reports: senders that stamp a report late (its NTP time, not its RTP time) err only upwards.

        So do servers that make reports of their own from the arrival of a late packet.
        """
        return min(offset_s for _, offset_s in self.reports)


class StreamClock:
    """RTP timestamps of several tracks → seconds on the stream's one clock, which begins at 0 with the first media.

    Before every track has had a sender report (RFC 3550 6.4.1), tracks are placed by when they arrived and `sync_source` says so.
    When the reports are complete, tracks that were placed too early move later, none moves back; from then on the latest reports
    are followed. Each track's times never decrease. A stream of one track needs no report.
    """

    def __init__(self, rates_hz: Mapping[str, float]) -> None:
        """`rates_hz`: clock rate of every track by its name."""
        self._tracks = {name: _Track(rate_hz) for name, rate_hz in rates_hz.items()}
        self._newest: tuple[float, float] | None = None  # (time, arrival) of the newest media of any track
        self._ntp_origin_s: float | None = None  # NTP time of second 0; known when aligned

    @property
    def sync_source(self) -> SyncSource:
        return "sender_report" if len(self._tracks) < 2 or self._ntp_origin_s is not None else "arrival"

    def time_s(self, track: str, rtp_timestamp: int, arrival_s: float, *, ssrc: int | None = None) -> float:
        """Time of a frame. `arrival_s`: any steady clock, the same for all tracks."""
        state = self._of(track, ssrc)
        missed_s = self._heard(state, arrival_s)
        seconds = state.unwrapped(rtp_timestamp) / state.rate_hz
        expected_s = self._expected_s(arrival_s)
        leap_s = PAUSE_LEAP_S if missed_s > PAUSE_S else LEAP_S
        if state.offset_s is not None and self._is_renumbered(state, seconds + state.offset_s, expected_s, leap_s):
            self.restart(track)
            seconds = state.unwrapped(rtp_timestamp) / state.rate_hz
        if state.offset_s is None:
            state.offset_s = expected_s - seconds
            self._align()
        state.newest_ticks = state.unwrapped(rtp_timestamp)
        state.newest_s = max(state.newest_s, seconds + state.offset_s)
        self._newest = (state.newest_s, arrival_s)
        return state.newest_s

    def report(self, track: str, rtp_timestamp: int, ntp_s: float, *, ssrc: int | None = None) -> None:
        """A sender report: the media with `rtp_timestamp` was captured at the sender's wall clock time `ntp_s`."""
        state = self._of(track, ssrc)
        seconds = state.unwrapped(rtp_timestamp) / state.rate_hz
        ntp_offset_s = ntp_s - seconds
        if state.reports and abs(ntp_offset_s - state.ntp_offset_s) > STEP_S:
            for other in self._tracks.values():  # reports from before the step are worth nothing beside this one
                other.reports.clear()
            self._ntp_origin_s = None
        state.report(seconds, ntp_offset_s)
        if self._ntp_origin_s is not None and state.offset_s is not None:
            state.offset_s = state.ntp_offset_s - self._ntp_origin_s
        else:
            self._align()

    def restart(self, track: str) -> None:
        """The track's timestamps begin anew: it is placed by arrival again until its next report."""
        state = self._tracks[track]
        state.newest_ticks = state.offset_s = state.ssrc = None
        state.reports.clear()
        self._ntp_origin_s = None

    def _of(self, track: str, ssrc: int | None) -> _Track:
        state = self._tracks[track]
        if ssrc is not None:
            if state.ssrc is not None and state.ssrc != ssrc:
                self.restart(track)
            state.ssrc = ssrc
        return state

    def _heard(self, state: _Track, arrival_s: float) -> float:
        """How long others were heard while this track was silent. When the network stood still, nobody was."""
        since_s = arrival_s - (arrival_s if state.arrived_s is None else state.arrived_s)
        for other in self._tracks.values():
            other.missed_s += since_s if other is not state and since_s < HEARD_S else 0.0
        missed_s, state.missed_s, state.arrived_s = state.missed_s, 0.0, arrival_s
        return missed_s

    @staticmethod
    def _is_renumbered(state: _Track, time_s: float, expected_s: float, leap_s: float) -> bool:
        return abs(time_s - expected_s) > leap_s or time_s < state.newest_s - BACK_S

    def _expected_s(self, arrival_s: float) -> float:
        if self._newest is None:
            return 0.0
        time_s, newest_arrival_s = self._newest
        return time_s + arrival_s - newest_arrival_s

    def _align(self) -> None:
        """Moves tracks later until their NTP times agree, once all have media and a report."""
        states = self._tracks.values()
        offsets = [state.offset_s for state in states if state.offset_s is not None and state.reports]
        if len(offsets) < len(states):
            return
        self._ntp_origin_s = min(state.ntp_offset_s - offset_s for state, offset_s in zip(states, offsets, strict=True))
        for state in states:
            state.offset_s = state.ntp_offset_s - self._ntp_origin_s

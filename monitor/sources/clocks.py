"""FFmpeg's timestamps → seconds of the stream: a file's own clock, and a camera's clock behind RTSP."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from av.packet import Packet

from monitor.clock import StreamClock
from monitor.media import SyncSource

RESTART_S = 0.3  # a timestamp this far back means that the file's clock was set anew
LARGEST_LEAP_S = 30.0  # and so does one this far beyond everything seen so far
STEP_TOGETHER_S = 1.0
REPORTED_EVERY_S = 0.5  # a server's own reports come every few seconds
NEVER = -(1 << 62)


@dataclass(slots=True)
class FileClock:
    """Container timestamps → seconds from the first media, still growing where the file's own clock starts over."""

    origin_s: float
    sync_source: SyncSource = "container"
    shift_s: dict[str, float] = field(default_factory=lambda: {"audio": 0.0, "video": 0.0})
    newest_s: dict[str, float] = field(default_factory=lambda: {"audio": 0.0, "video": 0.0})

    def note(self, packet: "Packet[Any]") -> None:
        """A file's packets say nothing beyond their timestamps."""

    def time_s(self, kind: str, timestamp_s: float) -> float:
        other = "audio" if kind == "video" else "video"
        newest_s = max(self.newest_s.values())
        time_s = timestamp_s - self.origin_s + self.shift_s[kind]
        if time_s < self.newest_s[kind] - RESTART_S or time_s > newest_s + LARGEST_LEAP_S:
            shared_s = timestamp_s - self.origin_s + self.shift_s[other]
            if self.shift_s[other] != self.shift_s[kind] and abs(shared_s - self.newest_s[other]) <= STEP_TOGETHER_S:
                self.shift_s[kind] = self.shift_s[other]  # the other track went over the same step before: keep the two together
            else:
                self.shift_s[kind] += newest_s - time_s
            time_s = timestamp_s - self.origin_s + self.shift_s[kind]
        self.newest_s[kind] = max(self.newest_s[kind], time_s)
        return time_s


class CameraClock:
    """RTSP: FFmpeg's timestamps until both tracks have a sender report, the camera's wall clock from then on.

    FFmpeg zeroes each track by itself (or by the server's RTP-Info, where given), and moves a track's timestamps when its first sender
    report comes. It then marks every packet with the wall clock time of its capture (AV_PKT_DATA_PRFT), which serves as a report.
    """

    def __init__(self, rates_hz: Mapping[str, float]) -> None:
        self._clock = StreamClock(rates_hz)
        self._rates_hz = rates_hz
        self._reported_at: dict[str, int] = {}  # the newest timestamp of each kind whose wall clock time was asked for

    @property
    def sync_source(self) -> SyncSource:
        return self._clock.sync_source

    def note(self, packet: "Packet[Any]") -> None:
        kind, timestamp = packet.stream.type, packet.pts
        if timestamp is None or abs(timestamp - self._reported_at.get(kind, NEVER)) < self._rates_hz[kind] * REPORTED_EVERY_S:
            return
        if not packet.has_sidedata("prft"):
            return
        (wall_clock_us,) = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))
        if kind not in self._reported_at:
            self._clock.restart(kind)
        self._reported_at[kind] = timestamp
        self._clock.report(kind, timestamp, wall_clock_us / 1e6)

    def time_s(self, kind: str, timestamp_s: float) -> float:
        """FFmpeg's own timestamp stands for the arrival, so that a burst at the start, or RTP-Info, is understood."""
        return self._clock.time_s(kind, round(timestamp_s * self._rates_hz[kind]), timestamp_s)

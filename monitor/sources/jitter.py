"""RTP packets that come late, twice, in disorder or never → pictures and sound in order, none held back longer than a deadline.

Pure: time is an argument, and what should be asked of the sender (a packet again, a key frame) is said, not sent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

LEAP = 128  # packets; a step this large is a sender that began anew, or an outage that nobody can send again
MOST_WAITING = 1024  # packets held back at most, whatever their deadline
ASK_AGAIN_S = 0.06  # between two requests for the same packet: about one round trip
KEY_FRAME_AGAIN_S = 0.25
HEALED_S = 10.0  # a sender that never answers with a key frame repairs its picture block by block; after this long it counts as whole
_H264_IDR, _H264_SLICE, _H264_STAP_A, _H264_FU_A = 5, 1, 24, 28
_H264_BEFORE_SLICES = frozenset({6, 7, 8, 9})  # SEI, SPS, PPS, access unit delimiter


class Place(NamedTuple):
    """Where in a picture a packet belongs. `first`: at its beginning. `key`: the picture needs no earlier one.

    `usable`: a decoder can go on here although what was before it is missing; `partial`: it can use a picture of which some is missing.
    """

    first: bool
    key: bool
    usable: bool
    partial: bool = False


SOUND = Place(first=True, key=True, usable=True)


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet. `data`: its payload without the payload format's own header; empty for padding.

    `last`: ends a picture.
    """

    sequence: int
    timestamp: int
    data: bytes
    last: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture or piece of sound for the decoder; `damaged` when a part of it, or pictures that it needs, were lost."""

    timestamp: int
    data: bytes
    damaged: bool


@dataclass(slots=True)
class _Missing:
    since_s: float
    asked_s: float = -1e9


class JitterBuffer:
    """Gives each picture out as soon as it is whole and everything before it is out, or given up after `patience_s`.

    From a loss to the next whole key frame pictures are still given out, but `damaged`, and of H.264 so are parts of pictures; before
    the first whole key frame nothing is.
    `lost` counts packets that were given up, `late` those that came after that or twice.
    """

    def __init__(self, patience_s: float, *, asks: bool) -> None:
        """`asks`: whether the sender can be asked for packets and key frames."""
        self.lost = 0
        self.late = 0
        self._patience_s = patience_s
        self._asks = asks
        self._next: int | None = None  # sequence number without wraps, as in all of these
        self._highest = 0
        self._waiting: dict[int, Packet] = {}
        self._missing: dict[int, _Missing] = {}
        self._parts: list[Packet] = []
        self._torn = True  # the next packets are the rest of something whose beginning was lost
        self._in_part = False  # some of the picture in `_parts` is missing
        self._started = False
        self._damaged_since_s: float | None = None
        self._wants_key_frame = False
        self._key_frame_asked_s = -1e9

    def add(self, packet: Packet, now_s: float) -> list[Encoded]:
        """What can be decoded now that this packet came, in order."""
        if self._next is None:
            self._next = self._highest = packet.sequence
        index = self._highest + (packet.sequence - self._highest + 0x8000) % 0x10000 - 0x8000
        if index - self._highest > LEAP or index <= self._highest - LEAP * 2:
            self._begin_at(index, now_s)
        elif index < self._next or index in self._waiting:
            self.late += 1
            return []
        self._missing.update((gone, _Missing(now_s)) for gone in range(self._highest + 1, index))
        self._missing.pop(index, None)
        self._highest = max(self._highest, index)
        self._waiting[index] = packet
        return [*self._whole(now_s), *self.due(now_s)]

    def due(self, now_s: float) -> list[Encoded]:
        """What can be decoded now that time has passed: gaps older than the deadline are given up."""
        encoded: list[Encoded] = []
        while self._missing and (
            now_s >= next(iter(self._missing.values())).since_s + self._patience_s or len(self._waiting) > MOST_WAITING
        ):
            self._give_up(min(self._waiting), now_s)
            encoded += self._whole(now_s)
        return encoded

    def wakes_at_s(self) -> float | None:
        """When `due` or `requests` should be asked again although no packet came."""
        if not self._missing:
            return None
        deadline_s = next(iter(self._missing.values())).since_s + self._patience_s
        return min([deadline_s, *(missing.asked_s + ASK_AGAIN_S for missing in self._missing.values())]) if self._asks else deadline_s

    def requests(self, now_s: float) -> list[int]:
        """Sequence numbers to ask the sender for now (RTCP NACK, RFC 4585), least first, as aiortc wants them.

        Each is asked for again until it comes or is given up.
        """
        if not self._asks:
            return []
        again = [index for index, missing in self._missing.items() if now_s >= missing.asked_s + ASK_AGAIN_S - 1e-6]
        for index in again:
            self._missing[index].asked_s = now_s
        return sorted(index % 0x10000 for index in again)

    def wants_key_frame(self, now_s: float) -> bool:
        """Whether to ask for a key frame now (RTCP PLI); True at most every quarter of a second until one comes."""
        if not (self._asks and self._wants_key_frame) or now_s < self._key_frame_asked_s + KEY_FRAME_AGAIN_S:
            return False
        self._key_frame_asked_s = now_s
        return True

    def damage(self, now_s: float) -> None:
        """A picture was lost behind the buffer: those that follow need it."""
        self._wants_key_frame = True
        if self._damaged_since_s is None:
            self._damaged_since_s = now_s

    def _begin_at(self, index: int, now_s: float) -> None:
        self._waiting.clear()
        self._missing.clear()
        self._parts.clear()
        self._highest = index
        self._give_up(index, now_s)

    def _give_up(self, index: int, now_s: float) -> None:
        """Go on at this packet, whatever is missing before it."""
        for gone in [missing for missing in self._missing if missing < index]:
            del self._missing[gone]
            self.lost += 1
        self._next = index
        self._parts = [part for part in self._parts if part.place.partial]
        self._in_part = bool(self._parts)
        self._torn = True
        self.damage(now_s)

    def _whole(self, now_s: float) -> Iterator[Encoded]:
        assert self._next is not None
        while (packet := self._waiting.pop(self._next, None)) is not None:
            self._next += 1
            if self._parts and packet.timestamp != self._parts[0].timestamp:
                yield from self._finish(now_s)
            if not packet.data:
                continue
            if self._torn and not packet.place.usable:
                self._wants_key_frame = True
                if packet.last and self._parts:
                    yield from self._finish(now_s)
                continue
            self._in_part |= self._torn and not packet.place.first
            self._torn = False
            self._parts.append(packet)
            if packet.last:
                yield from self._finish(now_s)

    def _finish(self, now_s: float) -> Iterator[Encoded]:
        parts, self._parts = self._parts, []
        in_part, self._in_part = self._in_part, False
        if any(part.place.key for part in parts) and not in_part:
            self._started, self._damaged_since_s, self._wants_key_frame = True, None, False
        elif not self._started:
            self._wants_key_frame = True
            return
        elif self._damaged_since_s is not None and now_s > self._damaged_since_s + HEALED_S:
            self._damaged_since_s, self._wants_key_frame = None, False
        yield Encoded(parts[0].timestamp, b"".join(part.data for part in parts), self._damaged_since_s is not None)


def place_in_picture(codec: str, payload: bytes) -> Place:
    """Of a payload in VP8's (RFC 7741) or H.264's (RFC 6184) payload format; anything else is sound."""
    if codec == "VP8":
        return _vp8_place(payload)
    return _h264_place(payload) if codec == "H264" else SOUND


def _vp8_place(payload: bytes) -> Place:
    if not payload or not payload[0] & 0x10 or payload[0] & 0x07:
        return Place(first=False, key=False, usable=False)
    at = 1
    if payload[0] & 0x80 and len(payload) > 1:
        extra = payload[1]
        at = 2
        if extra & 0x80:
            at += 2 if len(payload) > 2 and payload[2] & 0x80 else 1
        at += bool(extra & 0x40) + bool(extra & 0x30)
    return Place(first=True, key=len(payload) > at and not payload[at] & 1, usable=True)


def _h264_place(payload: bytes) -> Place:
    units = list(_h264_units(payload))
    if not units:
        return Place(first=False, key=False, usable=False, partial=True)
    kind, begins = units[0]
    first = begins and (kind in _H264_BEFORE_SLICES or (kind in (_H264_SLICE, _H264_IDR) and _first_slice(payload)))
    return Place(first, any(kind == _H264_IDR for kind, _ in units), usable=begins, partial=True)


def _h264_units(payload: bytes) -> Iterator[tuple[int, bool]]:
    """(type, whether its beginning is here) of every NAL unit in a payload."""
    kind = payload[0] & 0x1F if payload else 0
    if kind == _H264_FU_A:
        if len(payload) > 1:
            yield payload[1] & 0x1F, bool(payload[1] & 0x80)
    elif kind == _H264_STAP_A:
        at = 1
        while at + 2 < len(payload):
            yield payload[at + 2] & 0x1F, True
            at += 2 + int.from_bytes(payload[at : at + 2], "big")
    elif kind:
        yield kind, True


def _first_slice(payload: bytes) -> bool:
    """Whether the first slice here is the picture's first: first_mb_in_slice, its first field, is 0, which ue(v) writes as one 1 bit."""
    at = {_H264_FU_A: 2, _H264_STAP_A: 4}.get(payload[0] & 0x1F, 1)
    return len(payload) > at and bool(payload[at] & 0x80)

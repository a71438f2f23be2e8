"""What an SDP (RFC 8866) says about plain RTP, and the SDP that FFmpeg gets instead. Pure.

FFmpeg never sees the sender's text: an attribute can make it open files, join multicast groups or unpack whole containers. It gets only
what its decoders need, on loopback.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from monitor.config import Ingest
from monitor.errors import SourceError

CODECS = {
    "audio": ("opus", "pcmu", "pcma", "g722", "l16", "speex", "mpeg4-generic", "mp4a-latm"),
    "video": ("h264", "h265", "vp8", "vp9", "av1", "mp4v-es"),
}
STATIC = {0: "PCMU/8000", 8: "PCMA/8000", 9: "G722/8000"}  # RFC 3551, table 4
PROTOCOLS = ("RTP/AVP", "RTP/AVPF")
_MEDIA = re.compile(r"(audio|video) (\d{1,5})(?:/\d+)? (\S+) (\d{1,3})(?: .*)?")
_FORMAT = re.compile(r"(rtpmap|fmtp):(\d{1,3}) ([ -~]+)")
_FEEDBACK = re.compile(r"rtcp-fb:(\*|\d{1,3}) ([ -~]+)")


@dataclass(frozen=True, slots=True)
class Media:
    """One m= section. Port 0 means any free one; `rtcp_port` None that RTCP comes to `port` as well (rtcp-mux, RFC 5761)."""

    kind: str
    port: int
    rtcp_port: int | None
    protocol: str
    payload_type: int
    attributes: tuple[str, ...]


def read_sdp(text: str, name: str, ingest: Ingest) -> tuple[Media, ...]:
    """The first audio and the first video section that is in use. Raises SourceError."""
    if len(text.encode()) > ingest.max_sdp_bytes:
        raise SourceError(f"{name}: the SDP is longer than ingest.max_sdp_bytes ({ingest.max_sdp_bytes})")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "v=0" or any(line[1:2] != "=" or not line.isprintable() for line in lines):
        raise SourceError(f"{name}: is no SDP; it must begin with v=0 and go on with lines such as m=audio 5004 RTP/AVP 111")
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    if len(starts) > ingest.max_tracks:
        raise SourceError(f"{name}: the SDP names {len(starts)} tracks, more than ingest.max_tracks ({ingest.max_tracks})")
    media: dict[str, Media] = {}
    for start, end in pairwise([*starts, len(lines)]):
        section = _section(lines[start:end], name)
        if section is not None:
            media.setdefault(section.kind, section)
    if not media:
        raise SourceError(f"{name}: the SDP has no audio and no video; add a line such as m=audio 5004 RTP/AVP 111")
    return tuple(media.values())


def sdp_on_loopback(media: Sequence[Media], ports: Mapping[str, int]) -> str:
    """The same tracks at `ports` (kind → RTP port; its RTCP comes to the one above)."""
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
    for section in media:
        lines.append(f"m={section.kind} {ports[section.kind]} {section.protocol} {section.payload_type}")
        lines += [f"a={attribute}" for attribute in section.attributes]
    return "\r\n".join([*lines, ""])


def _section(lines: Sequence[str], name: str) -> Media | None:
    described = _MEDIA.fullmatch(lines[0][2:])
    if described is None:
        return None  # data channels and the like
    kind, port, protocol, payload_type = described[1], int(described[2]), described[3], int(described[4])
    attributes = [line[2:] for line in lines if line.startswith("a=")]
    if "inactive" in attributes:
        return None
    if protocol not in PROTOCOLS:
        raise SourceError(f"{name}: {protocol} is not received as plain RTP; have it sent as {' or '.join(PROTOCOLS)}, or use WHIP")
    if port > 65534 or any(line.startswith("c=") and re.search(r" (22[4-9]|23\d)\.| ff", line) for line in lines):
        raise SourceError(f"{name}: m={kind} needs a port below 65535 and no multicast address")
    wanted = [f"{match[1]}:{match[2]} {match[3]}" for a in attributes if (match := _FORMAT.fullmatch(a)) and int(match[2]) == payload_type]
    feedback = [a for a in attributes if (match := _FEEDBACK.fullmatch(a)) and match[1] in ("*", str(payload_type))]
    rtpmap = next((a.split(" ")[1] for a in wanted if a.startswith("rtpmap:")), STATIC.get(payload_type, ""))
    if rtpmap.split("/")[0].lower() not in CODECS[kind]:
        raise SourceError(f"{name}: m={kind} has no codec that is known here; add a line such as a=rtpmap:{payload_type} opus/48000/2")
    if not any(a.startswith("rtpmap:") for a in wanted):
        wanted.insert(0, f"rtpmap:{payload_type} {rtpmap}")
    return Media(kind, port, _rtcp_port(port, attributes), protocol, payload_type, (*wanted, *feedback))


def _rtcp_port(port: int, attributes: Sequence[str]) -> int | None:
    if "rtcp-mux" in attributes:
        return None
    named = next((match[1] for a in attributes if (match := re.fullmatch(r"rtcp:(\d{1,5})(?: .*)?", a))), None)
    return int(named) if named is not None and 0 < int(named) < 65536 else port + 1 if port else 0

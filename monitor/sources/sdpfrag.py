"""What a peer tells about its ICE after the offer: bodies of type application/trickle-ice-sdpfrag (RFC 8840). Pure text."""

import re
from dataclasses import dataclass

from monitor.errors import SourceError

CONTENT_TYPE = "application/trickle-ice-sdpfrag"
MOST_CANDIDATES = 64
_LINE = re.compile(r"[a-z]=[^\x00-\x1f]*")
_ICE_CHARS = re.compile(r"[A-Za-z0-9+/]+")


@dataclass(frozen=True, slots=True)
class Fragment:
    """`candidates`: (mid, what follows "candidate:") each. `complete`: no more will come. Without `ufrag` the session's own is meant."""

    ufrag: str | None
    password: str | None
    candidates: tuple[tuple[str, str], ...]
    complete: bool

    def text(self, media: str = "audio 9 UDP/TLS/RTP/SAVPF 0", mid: str = "0") -> str:
        """For our own answers and requests. `media`: the rest of the bundle's first m= line."""
        lines = [f"a=ice-ufrag:{self.ufrag}", f"a=ice-pwd:{self.password}"] if self.ufrag is not None else []
        lines += [f"m={media}", f"a=mid:{mid}", *(f"a=candidate:{candidate}" for _, candidate in self.candidates)]
        return "".join(f"{line}\r\n" for line in [*lines, *(["a=end-of-candidates"] if self.complete else [])])


def parse_fragment(text: str) -> Fragment:
    """Raises SourceError for what is no such fragment. ICE lines may stand before the first m= line or in its section."""
    mid = "0"
    found: dict[str, str] = {}
    candidates: list[tuple[str, str]] = []
    complete = False
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if not _LINE.fullmatch(line):
            raise SourceError(f"the fragment is no SDP: {line[:60]!r}")
        name, _, value = line.removeprefix("a=").partition(":") if line.startswith("a=") else ("", "", "")
        if name == "mid":
            mid = value
        elif name in ("ice-ufrag", "ice-pwd"):
            if not _ICE_CHARS.fullmatch(value) or found.setdefault(name, value) != value:
                raise SourceError(f"the fragment's {name} is not usable, or there are two")
        elif name == "candidate":
            candidates.append((mid, value))
        elif name == "end-of-candidates":
            complete = True
    if len(candidates) > MOST_CANDIDATES:
        raise SourceError(f"the fragment has more than {MOST_CANDIDATES} candidates")
    if ("ice-ufrag" in found) != ("ice-pwd" in found):
        raise SourceError("the fragment must give both ice-ufrag and ice-pwd, or neither")
    return Fragment(found.get("ice-ufrag"), found.get("ice-pwd"), tuple(candidates), complete)

"""How much a live source may bring before it counts as an attack or a mistake."""

from dataclasses import dataclass, field

from monitor.config import Ingest
from monitor.errors import SourceError

SPAN_S = 5.0  # a burst that makes up for a stall is no offence


@dataclass(slots=True)
class Rates:
    """Counts pictures and bytes of one live source. Pure: `now_s` is any steady clock. Raises SourceError beyond the limits."""

    name: str
    ingest: Ingest
    _since_s: float = field(default=-SPAN_S)
    _pictures: int = field(default=0)
    _bytes: int = field(default=0)

    def picture(self, width_px: int, height_px: int) -> None:
        if width_px * height_px > self.ingest.max_pixels:
            raise SourceError(
                f"{self.name}: its pictures have {width_px} × {height_px} pixels, more than ingest.max_pixels ({self.ingest.max_pixels})"
            )
        self._pictures += 1
        if self._pictures > self.ingest.max_fps * SPAN_S:
            raise SourceError(f"{self.name}: sends more pictures a second than ingest.max_fps ({self.ingest.max_fps:g})")

    def packet(self, size_bytes: int, now_s: float) -> None:
        if now_s - self._since_s >= SPAN_S:
            self._since_s, self._pictures, self._bytes = now_s, 0, 0
        self._bytes += size_bytes
        if self._bytes * 8 / 1000 > self.ingest.max_kbps * SPAN_S:
            raise SourceError(f"{self.name}: sends more than ingest.max_kbps ({self.ingest.max_kbps:g})")

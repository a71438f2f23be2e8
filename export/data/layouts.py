"""Labelled folders of all kinds as one kind of row. `read_layout` takes the pool's own tables and the public sets of `layout_readers`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from export.data.pool import Row, read_table
from monitor.errors import MonitorError
from monitor.media import Modality

Label = Literal["real", "fake", ""]
TABLES = ("labels.csv", "clips.csv", "images.csv")
MEDIA = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"}


class LayoutError(MonitorError):
    """A folder is not what it was said to be."""


@dataclass(frozen=True)
class Span:
    """Forged seconds of one modality, end exclusive."""

    modality: Modality
    start_s: float
    end_s: float
    kind: str = ""


@dataclass(frozen=True)
class LabelledClip:
    """One file and what is true of it. Empty labels: not known, or there is no such track.

    `label_sync` may also be "shift" (genuine, with a transport's offset, which `generator` tells). `group`: whom clips share that must be
    drawn together (a person, else the page they came from). `people`: group of people to count false alarms for. `derived`: made from
    another clip of the folder, so audio and video would count twice. `nuisances`: what must not decide, by column name.
    """

    path: Path
    label_audio: Label = ""
    label_video: Label = ""
    label_sync: Label | Literal["shift"] = ""
    segments: tuple[Span, ...] = ()
    generator: str = ""
    family: str = ""
    group: str = ""
    people: str = ""
    split: str = ""
    source: str = ""
    derived: bool = False
    nuisances: Mapping[str, float] = field(default_factory=dict)

    def label(self, modality: Modality) -> str:
        return {"audio": self.label_audio, "video": self.label_video, "sync": self.label_sync}[modality]


@dataclass(frozen=True)
class Layout:
    """`marks`: patterns below the folder of which one must exist and, if it is a file, begin with `begins`."""

    marks: tuple[str, ...]
    read: Callable[[Path], list[LabelledClip]]
    begins: str = ""

    def fits(self, folder: Path) -> bool:
        found = next((path for mark in self.marks for path in folder.glob(mark)), None)
        if found is None or not self.begins:
            return found is not None
        with found.open(errors="replace") as text:
            return text.read(100).lstrip().startswith(self.begins)


def label_of(text: str) -> Label:
    return "real" if text == "real" else "fake" if text == "fake" else ""


def read_pool_table(folder: Path) -> list[LabelledClip]:
    """labels.csv or clips.csv with `file` and label_audio, label_video, label_sync (real, fake; anything else is unknown).

    Columns used where present: label (of the voice), generator, family, group, speaker, source, people, split, kind, and n_* (nuisances).
    """
    try:
        rows = read_table(folder)
    except KeyError:
        raise LayoutError(f"{folder}: the table has no column 'file'; it needs file, label_audio, label_video") from None
    if rows and not rows[0].keys() & {"label", "label_audio", "label_video", "label_sync"}:
        raise LayoutError(f"{folder}: the table has none of the columns label_audio, label_video, label_sync, label; nothing to score")
    return [_of_row(folder, row) for row in rows]


def _of_row(folder: Path, row: Row) -> LabelledClip:
    sync = row.get("label_sync", "")
    return LabelledClip(
        path=folder / row["file"],
        label_audio=label_of(row.get("label_audio") or row.get("label", "")),
        label_video=label_of(row.get("label_video", "")),
        label_sync="shift" if sync == "shift" else label_of(sync),
        generator=row.get("generator", ""),
        family=row.get("family", ""),
        group=row.get("group") or row.get("speaker") or row.get("source") or row["file"],
        people=row.get("people", ""),
        split=row.get("split", ""),
        source=row.get("source", ""),
        derived=row.get("kind") == "derived",
        nuisances={name: float(value) for name, value in row.items() if name.startswith("n_") and value},
    )


def layouts() -> dict[str, Layout]:
    """All that can be read, by the name that --layout takes."""
    from export.data import layout_readers  # noqa: PLC0415 (it builds on this file)

    return {"table": Layout(TABLES, read_pool_table), **layout_readers.LAYOUTS}


def read_layout(folder: Path, name: str = "auto", split: str = "") -> list[LabelledClip]:
    """Rows of every labelled file that is there, sorted by path; those of one split when `split` is given. Raises LayoutError."""
    if not folder.is_dir():
        raise LayoutError(f"{folder} is no folder; give the folder that holds the media and their labels")
    known = layouts()
    if name != "auto" and name not in known:
        raise LayoutError(f"unknown layout {name!r}; choose one of {', '.join(known)}")
    name = _detect(folder, known) if name == "auto" else name
    try:
        rows = known[name].read(folder)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise LayoutError(f"{folder}: its labels are not those of {name} ({type(error).__name__}: {error}); see --layout") from None
    chosen = [row for row in rows if not split or row.split == split]
    if split and not chosen:
        raise LayoutError(
            f"{folder} has no split {split!r}; it has {', '.join(sorted({row.split for row in rows if row.split})) or 'none'}"
        )
    there = [row for row in chosen if row.path.is_file()]
    if not there:
        example = f"; {chosen[0].path} is missing, for one" if chosen else ""
        raise LayoutError(f"{folder}: none of the {len(chosen)} files that its labels name is there{example}")
    return sorted(there, key=lambda row: row.path)


def _detect(folder: Path, known: Mapping[str, Layout]) -> str:
    found = [name for name, layout in known.items() if layout.fits(folder)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise LayoutError(
            f"{folder} looks like none of the known layouts; give a labels.csv (see --help) or --layout {{{','.join(known)}}}"
        )
    raise LayoutError(f"{folder} could be {' or '.join(found)}; say which with --layout")

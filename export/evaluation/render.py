"""The numbers as a page, by the template report.md.j2 beside this file. Pure: dict in, text out."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader

from export.evaluation.goals import goals

Told = dict[str, Any]
BY_HAND = re.compile(r"<!-- by hand -->\n(.*?)\n<!-- /by hand -->", re.DOTALL)


def report(numbers: Told, images: Sequence[str] = (), notes: str = "") -> str:
    """Markdown. `images`: paths of the plots as the page names them. `notes`: paragraphs by hand (see `by_hand`), without numbers."""
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=folder, undefined=ChainableUndefined, keep_trailing_newline=True)  # noqa: S701 (Markdown is not HTML)
    pages.filters |= {"number": number, "ranged": ranged, "suite": suite, "card_rows": card_rows, "brief": brief, "goal": goal}
    overview = numbers["overview"]
    overview = overview | {"speed": overview["media_s"] / max(overview["judging_s"], 1e-6)}
    return pages.get_template("report.md.j2").render(
        numbers
        | {
            "overview": overview,
            "judged": [*overview["modalities"].items(), ("union", overview["union"])],
            "images": {path.rsplit("evaluation_", 1)[-1].removesuffix(".svg"): path for path in images},
            "notes": notes,
            "reached": goals(numbers),
        }
    )


def by_hand(page: str) -> str:
    """What a person wrote into an older page, between its marks; it goes into the next one unchanged."""
    found = BY_HAND.search(page)
    return found.group(1) if found else ""


def number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def goal(value: float) -> str:
    """A share or an AUC as .90, milliseconds and counts as they are."""
    return f"{value:g}" if value >= 1 and value == int(value) else f"{value:.1f}" if value >= 1 else number(value, 2) if value else "0"


def ranged(values: Sequence[float | None], digits: int = 3) -> str:
    """value (low–high)"""
    value, low, high = values
    told = number(value, digits)
    return told if low is None or high is None else f"{told} ({number(low, digits)}–{number(high, digits)})"


def brief(values: Sequence[float | None] | None) -> str:
    """The same with two digits, for wide tables; – where there is none."""
    return ranged(values or (None, None, None), 2)


def card_rows(numbers: Told) -> list[tuple[str, str]]:
    """What a card's `numbers` hold as (entry, its numbers and words); what lies deeper than one level is left out."""
    entries = {"": numbers, **{name: entry for name, entry in numbers.items() if isinstance(entry, dict)}}
    rows = []
    for name, entry in entries.items():
        flat = [f"{key.replace('_', ' ')} {_flat(value)}" for key, value in entry.items() if _flat(value)]
        if flat:
            rows.append((name.replace("_", " "), "; ".join(flat).replace("|", "/")))
    return rows


def _flat(value: Any) -> str:
    """A number or words as they are, [value, low, high] with brackets, other short lists of numbers as a/b; "" for what is deeper."""
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and len(value) <= 3 and all(isinstance(each, int | float) for each in value):
        is_range = len(value) == 3 and value[1] <= value[0] <= value[2]
        return ranged(value) if is_range else "/".join(map(str, value))
    return ""


def suite(points: Sequence[Told]) -> Told:
    """Points of a robustness suite as rows: one for each distortion, one column for each level; the first point is the clean one."""
    clean, *others = points
    levels = sorted({point["level"] for point in others})
    rows = []
    for name in dict.fromkeys(point["name"] for point in others):
        mine = {point["level"]: point for point in others if point["name"] == name}
        rows.append(
            {
                "name": name,
                "auc": [mine[level]["auc"] if level in mine else None for level in levels],
                "judged": mine[max(mine)]["judged"],
                "false_alarms": max(point["false_alarms"] for point in mine.values()),
            }
        )
    return {"clean": clean, "levels": levels, "rows": rows}

"""What `scan` looks for in folders, and how it tells a person what it found."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.text import Text

_SUFFIXES = """
    3gp asf avi flv gif m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv
    aac aif aiff amr caf flac m4a mka mp3 oga ogg opus wav wma
"""
MEDIA_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
NAMES = {"audio": "voice", "video": "face", "sync": "lips ↔ voice"}
STYLES = {"genuine": "green", "suspicious": "yellow", "fake": "bold red", "insufficient": "dim"}
REASONS = {
    "no_face": "no face seen",
    "face_too_small": "the face is too small",
    "face_blurred": "the face is blurred",
    "no_speech": "nobody speaks",
    "no_audio_track": "there is no sound",
    "no_video_track": "there are no pictures",
    "sync_unknown": "sound and picture have no common clock",
    "too_short": "too short to judge",
    "not_speaking": "nobody in the picture seems to be speaking",
}


def media_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Named files as they are, folders walked in name order for files with a media suffix (hidden ones left out)."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, names, files in os.walk(path):
            names[:] = sorted(name for name in names if not name.startswith("."))
            yield from (Path(folder, file) for file in sorted(files) if Path(file).suffix.lower() in MEDIA_SUFFIXES and file[0] != ".")


def exit_code(results: Iterable[dict[str, Any]]) -> int:
    """3 a file could not be read; else 1 something is fake; else 2 nothing could be judged; else 0."""
    errors = fakes = judged = 0
    for result in results:
        states = [verdict["state"] for verdict in result.get("verdicts", {}).values()]
        errors += "error" in result
        fakes += "fake" in states
        judged += any(state != "insufficient" for state in states)
    if errors:
        return 3
    return 1 if fakes else 0 if judged else 2


def as_text(result: dict[str, Any]) -> Text:
    """One file's verdicts in four lines."""
    if "error" in result:
        return Text.assemble((result["source"], "bold"), "\n  ", ("could not be read: ", "bold red"), _after_name(result))
    text = Text.assemble((result["source"], "bold"), (f"  {result['duration_s']:.1f} s", "dim"))
    for modality, verdict in result["verdicts"].items():
        score = "  – " if verdict["p_fake"] is None else f"{verdict['p_fake']:.2f}"
        text.append(f"\n  {NAMES[modality]:<13}")
        text.append(f"{verdict['state'].upper() if verdict['state'] == 'fake' else verdict['state']:<13}", STYLES[verdict["state"]])
        text.append(f"{score}  {_details(result, modality, verdict)}")
    return text


def _details(result: dict[str, Any], modality: str, verdict: dict[str, Any]) -> str:
    if verdict["reason"]:
        return REASONS.get(verdict["reason"], str(verdict["reason"]))
    parts = [f"judged {verdict['coverage']:.0%} of the time"]
    if verdict.get("offset_ms") is not None:
        parts.append(f"sound {abs(verdict['offset_ms']):.0f} ms {'late' if verdict['offset_ms'] >= 0 else 'early'}")
    spans = [f"{found['start_s']:.1f}–{found['end_s']:.1f} s" for found in result["segments"] if found["modality"] == modality]
    if spans:
        parts.append("forged " + ", ".join(spans[:4]) + (" …" if len(spans) > 4 else ""))
    return "; ".join(parts)


def _after_name(result: dict[str, Any]) -> str:
    """Errors begin with the file's name, which stands in the line above already."""
    message: str = result["error"]
    for name in (result["source"], Path(result["source"]).name):
        message = message.removeprefix(f"{name}: ")
    return message

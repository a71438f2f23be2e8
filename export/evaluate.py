"""Score labelled media with the shipped product, and say where it fails. Example:

    python -m export.evaluate ../shared/data/devset --out docs/evaluation.md --json docs/evaluation.json --images docs/images

FOLDER holds media and their labels: a table (labels.csv with file, label_audio, label_video: real or fake, anything else is unknown;
also used: label_sync, generator, family, group, source, people, kind, and n_* for nuisances that must not decide, which else are
measured), or one of the public sets that --layout names.

Everything goes through monitor's own pipeline at its own thresholds. Intervals are drawn by identity (group, speaker, else source page).
Matched AUC compares each forged clip only with genuine ones alike in every nuisance (within 0.6 standard deviations).

Sections: conditions (a track missing or lost), robustness (distortions, call degradations, codecs), nuisances, calls (segments, delay,
false incidents; with made calls of export.data.made_calls), galleries (several faces in one picture; with its --galleries), talk, maps and
folds (these three need the training pool). All of them on 296 clips take about fifteen minutes of one core, nine with --jobs 2. What stands
between the marks "by hand" in an older --out goes into the new one.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from export.command_line import Arguments, check_can_write, command, count, make_folder
from export.data.layouts import layouts, read_layout
from export.evaluation.plots import draw
from export.evaluation.render import by_hand, report
from export.evaluation.run import FULL, QUICK, SECTIONS, Task, evaluate
from export.evaluation.worst import check_outside, write_worst
from monitor.errors import ConfigError

WRITTEN = {"command", "folder", "models", "overview", "cards", "skipped", "seconds"}
"""What every --json holds, whatever the sections."""


@command
def main(arguments: list[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(given)
    if options.render:
        render(options.render, options.out, options.images)
        return
    sections = {name for name in options.sections.split(",") if name not in ("", "none")}
    if unknown := sections - set(SECTIONS):
        raise ConfigError(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}, or none")
    if options.folder is None:
        raise ConfigError("give a folder of labelled media, or --help")
    check_can_write(options.json, options.out)
    if options.images:
        make_folder(options.images)
    if options.worst:
        check_outside(options.worst)
        make_folder(options.worst)
    clips = read_layout(options.folder, options.layout, options.split)
    if options.limit:
        clips = clips[:: max(1, len(clips) // options.limit)][: options.limit]
    task = Task(
        options.folder.name, options.models, QUICK if options.quick else FULL, sections, options.pool, options.calls, options.galleries
    )
    shown = [word for word, before in zip(given, ["", *given], strict=False) if "--worst" not in (word, before)]  # changes no number
    told: dict[str, Any] = {"command": shlex.join(["python", "-m", "export.evaluate", *shown])}

    def keep(numbers: dict[str, Any]) -> None:
        """A run that is stopped leaves the sections that it finished."""
        told.update(numbers)
        if options.json:
            options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        if options.out:
            write_page(told, options.out, options.images)

    judged = evaluate(task, clips, keep, options.jobs)
    if options.out is None:
        sys.stdout.write(report(told))
    if options.worst:
        write_worst(judged, options.worst)


def _parser() -> Arguments:
    parser = Arguments(prog="python -m export.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="media and their labels")
    parser.add_argument("--layout", default="auto", help=f"how the folder is laid out: auto, {', '.join(layouts())}")
    parser.add_argument("--split", default="", help="only this split of the set (test, val, …)")
    parser.add_argument("--limit", type=count, metavar="N", help="at most N clips, evenly over the folder")
    parser.add_argument("--models", type=Path, default=Path("exported_models"), help="folder of the models (default exported_models)")
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"beside the overview; any of {','.join(SECTIONS)}, or none")
    parser.add_argument("--quick", action="store_true", help="small subsets and wide intervals: a first look in two minutes")
    parser.add_argument("--jobs", type=count, default=1, help="sections measured at the same time (default 1; each takes a core)")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--calls", type=Path, help="made calls (default: where export.data.made_calls puts them)")
    parser.add_argument("--galleries", type=Path, help="made calls of several faces (default: where made_calls --galleries puts them)")
    parser.add_argument("--out", "--markdown", type=Path, help="write the report there instead of to the terminal")
    parser.add_argument("--json", type=Path, help="write every number there")
    parser.add_argument("--images", type=Path, help="draw the curves of --out into this folder (default: images/ beside it)")
    parser.add_argument("--render", type=Path, metavar="JSON", help="judge nothing; write --out anew from the numbers of an earlier run")
    parser.add_argument("--worst", type=Path, help="put the worst clips there as contact sheets; outside the repository")
    return parser


def render(numbers: Path, page: Path | None, images: Path | None) -> None:
    """The page of an earlier run's numbers."""
    if page is None:
        raise ConfigError("--render needs --out, the page to write")
    check_can_write(page)
    write_page(read_numbers(numbers), page, images)


def read_numbers(file: Path) -> dict[str, Any]:
    """What --json wrote. Raises ConfigError for any other file."""
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read ({error}); give the --json of an earlier run") from None
    if not (isinstance(told, dict) and told.keys() >= WRITTEN):
        raise ConfigError(f"{file} holds no numbers of an evaluation; give the --json of an earlier run")
    return told


def write_page(numbers: dict[str, Any], page: Path, images: Path | None) -> None:
    """The page and its curves; what stands between the marks "by hand" in an older page goes into the new one."""
    folder = images or page.parent / "images"
    notes = by_hand(page.read_text()) if page.is_file() else ""
    drawn = [os.path.relpath(folder / name, page.parent) for name in draw(numbers, folder)]
    page.write_text(report(numbers, drawn, notes))


if __name__ == "__main__":
    main()

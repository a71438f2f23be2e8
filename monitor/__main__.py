"""The command line. Whatever a user got wrong is one line on standard error, never a traceback."""

# ruff: noqa: PLC0415  the heavy rooms are imported by the commands that need them: --help and check-config answer at once
import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from monitor import config_file
from monitor.config import Config
from monitor.errors import MonitorError, SourceError

if TYPE_CHECKING:
    from monitor.alerts.policy import Policies
    from monitor.inference.engine import Engine

Command = TypeVar("Command", bound=Callable[..., Any])
DEFAULT_CONFIG = Path("config.yaml")
STOPPED_BY_CTRL_C = 130
err = Console(stderr=True, soft_wrap=True, highlight=False)


def main() -> None:
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(STOPPED_BY_CTRL_C)
    except MonitorError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        sys.exit(3 if isinstance(error, SourceError) else 2)
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("deepfake-monitor"), prog_name="deepfake-monitor")
def cli() -> None:
    """Watches calls and files, and says per modality when a voice, a face or the bond between them is forged.

    Begin with:  deepfake-monitor demo
    """


def configured(command: Command) -> Command:
    """Adds --config and --set; the command gets the finished `Config` as `config`."""

    @click.option(
        "--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="YAML file; ./config.yaml is used when it exists."
    )
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key, for instance server.port=8090.")
    @wraps(command)
    def with_config(path: Path | None, overrides: tuple[str, ...], **options: Any) -> Any:
        return command(config=config_file.load(path or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None), overrides), **options)

    return with_config  # type: ignore[return-value]


@cli.command()
@configured
def run(config: Config) -> None:
    """Run the service: publishers by WHIP, configured streams, alerts, page and metrics.

    Example:  deepfake-monitor run --config config.yaml --set log.incidents_path=incidents.ndjson
    """
    _serve(config, {})


@cli.command()
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key, for instance server.port=8090.")
def demo(overrides: tuple[str, ...]) -> None:
    """Run the service on a call that we made ourselves, with known seconds of forgery; open the printed address.

    Example:  deepfake-monitor demo --set server.port=8090
    """
    folder = Path(str(files("monitor").joinpath("demo")))
    call = ["streams.0.id=demo", f"streams.0.url={folder / 'call.mp4'}", "streams.0.loop=true", "log.incidents_path=null"]
    _serve(config_file.load(None, [*call, *overrides]), {"demo": json.loads((folder / "truth.json").read_text())})


def _serve(config: Config, truths: dict[str, Any]) -> None:
    from monitor.service.listening import listen, url_of

    _log_to_stderr()
    with listen(config.server) as listening:
        click.echo(f"deepfake-monitor is at {url_of(listening)}  (Ctrl-C stops it)", err=True)
        asyncio.run(_until_stopped(config, truths, listening))


async def _until_stopped(config: Config, truths: dict[str, Any], listening: socket.socket) -> None:
    from monitor.service.app import Service
    from monitor.service.http import serve

    service = Service(config, truths=truths)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)  # a second Ctrl-C does not wait any more
        logging.getLogger("monitor").info("stopping: closing incidents and sessions")
        service.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await serve(service, listening)


@cli.command()
@configured
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="json: one line per file, as it is finished.")
@click.option("--heatmaps", type=click.Path(path_type=Path, file_okay=False), help="Folder for pictures of where faces look forged.")
def scan(config: Config, paths: tuple[Path, ...], form: str, heatmaps: Path | None) -> None:
    """Judge files, as fast as the machine goes. A folder is searched for media files; a file named here is always tried.

    \b
    Exit codes, the first that fits:
      3  a file could not be read (the others are judged all the same)
      1  at least one file is fake
      2  nothing could be judged
      0  judged, and nothing found

    Example:  deepfake-monitor scan recordings/ --format json > verdicts.ndjson
    """
    from monitor.service.report import as_text, exit_code, media_files
    from monitor.service.scan import scan_files

    found = list(media_files(paths))
    if not found:
        click.echo(f"error: no media files in {', '.join(map(str, paths))}; name a file to have it tried whatever it is called", err=True)
        sys.exit(2)
    engine, policies = _judges(config)
    out = Console(soft_wrap=True, highlight=False)
    results: list[dict[str, Any]] = []
    with _Bar(len(found)) as bar:
        for result in scan_files(found, engine, policies, heatmaps, bar.note):
            results.append({key: result[key] for key in ("verdicts", "error") if key in result})
            with bar.aside():
                if form == "json":
                    click.echo(json.dumps(result, ensure_ascii=False))
                    sys.stdout.flush()
                else:
                    out.print(as_text(result))
    sys.exit(exit_code(results))


def _judges(config: Config) -> "tuple[Engine, Policies]":
    from monitor.inference.engine import Engine
    from monitor.service.app import policies_for

    chosen = config.models
    engine = Engine.load(chosen.dir, chosen.provider, strict=chosen.strict, face_detector=chosen.face_detector)
    return engine, policies_for(config, engine)


class _Bar:
    """Progress on standard error, when that is a terminal; it steps aside while a result is printed."""

    def __init__(self, total: int) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=err, transient=True) if err.is_terminal else None
        self._task = self._bar.add_task("", total=total) if self._bar else None

    def __enter__(self) -> "_Bar":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def note(self, path: Path, seconds: float) -> None:
        if self._bar and self._task is not None:
            self._bar.update(self._task, description=f"{path.name}  {seconds:.0f} s")

    @contextmanager
    def aside(self) -> Iterator[None]:
        self.__exit__()
        yield
        if self._bar and self._task is not None:
            self._bar.advance(self._task)
        self.__enter__()


@cli.command("check-config")
@configured
def check_config(config: Config) -> None:
    """Say what is wrong with the configuration, line by line; exit code 2 when something is.

    Example:  deepfake-monitor check-config --config config.yaml
    """
    streams = ", ".join(stream.id for stream in config.streams) or "none (publishers come by WHIP)"
    access = "with a token" if config.server.bearer else "without a token, from this machine only"
    click.echo(f"the configuration is good: {config.server.host}:{config.server.port} {access}; streams: {streams}")


@cli.group()
def models() -> None:
    """What judges: the model files and their cards."""


@models.command("list")
@configured
def list_models(config: Config) -> None:
    """Every model with its version, size and what made it.

    Example:  deepfake-monitor models list
    """
    from monitor.inference.card import read_card

    table = Table("model", "version", "parameters", "MB", "sha256", box=None)
    for path in _model_files(config):
        card = read_card(path)
        table.add_row(card.name, card.version, f"{card.parameters:,}", f"{path.stat().st_size / 1e6:.1f}", card.sha256[:12])
    Console(highlight=False).print(table)


@models.command()
@configured
def verify(config: Config) -> None:
    """Check that every model file is the one its card describes, loads, and fits the calibration; exit code 2 when not.

    Example:  deepfake-monitor models verify --set models.dir=/opt/models
    """
    from monitor.inference.card import read_card

    broken: list[str] = []
    for path in _model_files(config):
        try:
            read_card(path)
        except MonitorError as error:
            broken.append(str(error))
        else:
            click.echo(f"{path.name}: is the file its card describes")
    if broken:
        raise MonitorError("\n".join(broken))
    _judges(config)
    click.echo("all models load and fit their calibration")


def _model_files(config: Config) -> list[Path]:
    from monitor.inference.engine import embedded_models

    folder = config.models.dir or embedded_models()
    paths = sorted(folder.glob("*.onnx"))
    if not paths:
        raise MonitorError(f"no .onnx files in {folder}; give another models.dir, or null for the built-in models")
    return paths


def _log_to_stderr() -> None:
    handler: logging.Handler
    if err.is_terminal:
        handler = RichHandler(console=err, show_path=False, log_time_format="%H:%M:%S", highlighter=None, rich_tracebacks=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("monitor").setLevel(logging.INFO)


if __name__ == "__main__":
    main()

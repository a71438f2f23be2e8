"""How every command of this package ends for a user's mistake: `error: ` and one line on standard error, exit code 2."""

import argparse
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec

from monitor.errors import ConfigError, MonitorError

Given = ParamSpec("Given")


def command(main: Callable[Given, None]) -> Callable[Given, None]:
    """`main` of a command, with every MonitorError told to its user."""

    @wraps(main)
    def told(*given: Given.args, **named: Given.kwargs) -> None:
        try:
            main(*given, **named)
        except MonitorError as error:
            sys.stderr.write(f"error: {' '.join(str(error).splitlines())}\n")
            sys.exit(2)

    return told


class Arguments(argparse.ArgumentParser):
    """A parser that raises ConfigError for wrong arguments instead of showing all that could be given."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help shows what can be given")


def count(text: str) -> int:
    """A whole number of things, at least one, as `type` of an argument."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return number


def check_can_write(*files: Path | None) -> None:
    """Before hours of work for them: raises ConfigError for a file that could not be written at their end."""
    for file in files:
        if file is None:
            continue
        if not file.parent.is_dir():
            raise ConfigError(f"{file} cannot be written: there is no folder {file.parent}; make it, or name another")
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise ConfigError(f"{file} cannot be written: it is a folder or protected; name another file")


def make_folder(folder: Path) -> None:
    """Makes it where it is not there yet. Raises ConfigError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} is no folder and cannot be made one ({error.strerror}); name another") from None

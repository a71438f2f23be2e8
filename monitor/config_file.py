"""Reads the configuration from YAML and turns everything that is wrong with it into lines a person can act on.

A line reads `FILE:LINE: dotted.key: what is wrong; what to do`. Values of keys that may hold secrets are never repeated.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from monitor.config import Config, Stream
from monitor.errors import ConfigError

KeyPath = tuple[str | int, ...]
_VARIABLE = re.compile(r"\$(?:\$(?=\{)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})")
_SECRET_KEYS = {"token", "url"}
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "tuple": "a list (lines that start with '- ')",
    "model": "a section of key: value lines",
    "secret": "text",
}
_BOUNDS = {"greater_than": "above", "greater_than_equal": "at least", "less_than": "below", "less_than_equal": "at most"}


@dataclass
class _Document:
    """Plain data, and where each key of it was written ("config.yaml:12" or "--set")."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, path: KeyPath) -> str:
        """Of the nearest enclosing key that was really written."""
        return next((self.places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.places), self.name)


def load(path: Path | None, overrides: Iterable[str] = ()) -> Config:
    """The configuration in `path` (None: all defaults) with `key.path=value` overrides. Raises ConfigError: one line per problem."""
    document = _Document(str(path) if path is not None else "configuration")
    if path is not None:
        _read(document, path)
    for override in overrides:
        _override(document, override)
    if document.problems:
        raise ConfigError("\n".join(document.problems))
    base_dir = path.parent if path is not None else Path()
    try:
        return Config.model_validate(document.data, context={"base_dir": base_dir})
    except ValidationError as errors:
        lines = [_line(document, error) for error in errors.errors(include_url=False)]
        raise ConfigError("\n".join(sorted(lines, key=_line_number))) from None


def _read(document: _Document, path: Path) -> None:
    try:
        node = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a configuration file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text in UTF-8; give the path of a YAML file") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: is not valid YAML: {error.problem}; check indentation, colons and quotes") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {str(error).splitlines()[0]}; check the file's characters") from None
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}:1: must be sections of key: value lines, such as 'server:'")
    document.data = _value(document, node, ())


def _value(document: _Document, node: yaml.Node, path: KeyPath) -> Any:
    """Plain data of a YAML node; `${VARIABLE}` is filled in after parsing, so its content can never change the structure."""
    document.places.setdefault(path, f"{document.name}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        return dict(_pairs(document, node, path))
    if isinstance(node, yaml.SequenceNode):
        return [_value(document, child, (*path, index)) for index, child in enumerate(node.value)]
    text = _with_environment(document, node.value, path)
    reader = yaml.SafeLoader("")
    unquoted = text != node.value and isinstance(node, yaml.ScalarNode) and node.style is None
    tag = reader.resolve(yaml.ScalarNode, text, (True, False)) if unquoted else node.tag  # type: ignore[no-untyped-call]
    try:
        return reader.construct_object(yaml.ScalarNode(tag, text))
    except (yaml.YAMLError, ValueError):
        document.problems.append(f"{document.place(path)}: {_dotted(path)}: cannot be understood; put it in quotes if it is text")
        return None


def _pairs(document: _Document, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        key = str(key_node.value)
        inner = (*path, key)
        place = f"{document.name}:{key_node.start_mark.line + 1}"
        if key in seen:
            document.problems.append(f"{place}: {_dotted(inner)}: is given twice; keep one of them")
        seen.add(key)
        document.places.setdefault(inner, place)
        yield key, _value(document, value_node, inner)


def _with_environment(document: _Document, text: str, path: KeyPath) -> str:
    def fill(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name is None:
            return "$"  # $${…} stands for ${…}
        value = os.environ.get(name) or default
        if value is None:
            place = f"{document.place(path)}: {_dotted(path)}"
            document.problems.append(f"{place}: the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
        return value or ""

    return _VARIABLE.sub(fill, text)


def _override(document: _Document, override: str) -> None:
    dotted, equals, text = override.partition("=")
    keys = [int(key) if key.isdigit() else key for key in dotted.strip().replace("[", ".").replace("]", "").split(".")]
    if not equals or "" in keys:
        document.problems.append(f"--set: {dotted}: must be key.path=value, for instance --set server.port=8090")
        return
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        value = text
    path = tuple(keys)
    document.places = {known: place for known, place in document.places.items() if known[: len(path)] != path}
    document.places[path] = "--set"
    try:
        _assign(document.data, path, value)
    except (TypeError, IndexError):
        document.problems.append(f"--set: {dotted}: there is no such place in the configuration; check the key")


def _assign(data: Any, path: KeyPath, value: Any) -> None:
    for key, following in pairwise(path):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(data, list) and isinstance(key, int) and key == len(data):
            data.append(empty)
        if isinstance(data, dict) and data.get(key) is None:
            data[key] = empty
        data = data[key]
    if isinstance(data, list) and path[-1] == len(data):
        data.append(value)
    else:
        data[path[-1]] = value


def _line(document: _Document, error: ErrorDetails) -> str:
    path: KeyPath = error["loc"]
    context = error.get("ctx", {})
    if error["type"] == "problem" and context["key"]:
        path = (*path, *(int(key) if key.isdigit() else key for key in context["key"].split(".")))
    return f"{document.place(path)}: {_dotted(path)}: {_what(error, path)}"


def _what(error: ErrorDetails, path: KeyPath) -> str:
    kind, context = error["type"], error.get("ctx", {})
    got = "" if path and path[-1] in _SECRET_KEYS else f", not {_shown(error['input'])}"
    if kind == "problem":
        return str(context["what"])
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return "is missing; add it"
    if kind == "string_pattern_mismatch":
        return f"may hold letters, digits, '.', '_' and '-', at most 64, and starts with a letter or digit{got}"
    return f"must be {_wanted(kind, context) or error['msg']}{got}"


def _wanted(kind: str, context: dict[str, Any]) -> str | None:
    if kind == "literal_error":
        return f"one of {context['expected']}"
    if kind in _BOUNDS:
        return f"{_BOUNDS[kind]} {next(iter(context.values())):g}"
    return next((words for start, words in _WANTED.items() if kind.startswith(start)), None)


def _line_number(line: str) -> int:
    number = re.match(r".*?:(\d+): ", line)
    return int(number[1]) if number else 0


def _unknown_key(path: KeyPath) -> str:
    known = _keys_of(path[:-1])
    close = get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    advice = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"
    return f"unknown key; {advice}"


def _keys_of(path: KeyPath) -> list[str]:
    section: type[BaseModel] = Config
    for key in path:
        if isinstance(key, int):
            section = Stream
        elif key in section.model_fields and key != "streams":
            annotation = section.model_fields[key].annotation
            section = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else section
    return list(section.model_fields)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return "a section" if isinstance(value, dict) else "a list"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else text[:37] + "…"


def _dotted(path: KeyPath) -> str:
    return ".".join(str(key) for key in path) or "(whole file)"

"""Arrows point down only. The rooms and who may live where, checked on the syntax tree."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS: list[set[str]] = [
    {"errors", "media"},
    {"channel", "clock", "config", "config_file"},
    {"faces", "speech", "windows", "alerts", "inference.card", "measurements"},
    {"sources", "inference"},
    {"pipeline"},
    {"sinks"},
    {"service"},
    {"__main__"},
]
HOMES = {
    "aiortc": {"sources.webrtc", "sources.receiving", "sources.decoding", "sources.ice", "sources.whep", "service.http"},
    "av": {"sources"},
    "onnxruntime": {"inference"},
    "prometheus_client": {"sinks.metrics"},
    "aiohttp": {"service", "sources"},
    "webrtcvad": {"speech"},
    "torch": set(),
    "export": set(),
}
ONE_ROOM_IN_TWO_FILES = {("config_file", "config"), ("config", "config_file")}
PURE = {"asyncio", "time", "threading", "socket"}
PURE_ROOMS = {"media", "errors", "clock", "windows", "faces", "speech", "alerts"}
FILES = sorted((ROOT / "monitor").rglob("*.py"))


def room_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "monitor").with_suffix("").parts).removesuffix("__init__").rstrip(".")


def layer_of(room: str) -> int | None:
    """The layer that holds the longest prefix of a dotted room name; None for what is no room (demo media, the package itself)."""
    parts = room.split(".")
    for length in range(len(parts), 0, -1):
        for index, names in enumerate(LAYERS):
            if ".".join(parts[:length]) in names:
                return index
    return None


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module] if node.module != "monitor" else [f"monitor.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=room_of)
def test_arrows_point_down(path: Path) -> None:
    room = room_of(path)
    here = layer_of(room)
    if room and not room.startswith("demo"):
        assert here is not None, f"{room} has no layer: add it to LAYERS"
    for name in imports_of(path):
        if not name.startswith("monitor.") or here is None:
            continue
        target = name.removeprefix("monitor.")
        there = layer_of(target)
        same_package = target.split(".")[0] == room.split(".")[0]
        allowed = there is None or there < here or same_package or (room, target) in ONE_ROOM_IN_TWO_FILES
        assert allowed, f"{room} imports {target}: arrows point down"


@pytest.mark.parametrize("path", FILES, ids=room_of)
def test_third_parties_have_one_home(path: Path) -> None:
    room = room_of(path)
    for name in {name.split(".")[0] for name in imports_of(path)} & HOMES.keys():
        assert any(room == home or room.startswith(home + ".") for home in HOMES[name]), f"{name} does not belong in {room}"


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path).split(".")[0] in PURE_ROOMS], ids=room_of)
def test_pure_rooms_have_no_clock_and_no_tasks(path: Path) -> None:
    assert not PURE & {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("path", FILES + sorted((ROOT / "export").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400

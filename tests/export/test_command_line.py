"""What a user gets wrong is one line and exit code 2, at once, whichever command it was."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("onnx", reason="onnx is not installed (pip install -e .[export])")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install -e .[export])")

from export import render_demo
from export.command_line import check_can_write
from export.data.pool import REPOSITORY
from export.evaluate import read_numbers
from monitor.errors import ConfigError

Failing = Callable[..., str]
COMMANDS = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in (REPOSITORY / "export").rglob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Failing:
    """Runs a command that must fail, beside an empty cache and a pool with an empty data/; returns its one line."""
    (tmp_path / "pool" / "data").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEEPFAKE_POOL", str(tmp_path / "pool"))
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr("sys.argv", [name, *arguments])
        with pytest.raises(SystemExit) as ended:
            import_module(name).main()
        told = capsys.readouterr().err
        assert ended.value.code == 2
        assert told.startswith("error: ")
        assert told.count("\n") == 1
        return told

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_a_wrong_argument_in_one_line(name: str, failing: Failing) -> None:
    assert "--help" in failing(name, "--no-such")


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("calibrate", "--models empty", "model file empty/face_detector.onnx is missing"),
        ("to_int8", "face_forgery --models empty", "model file empty/face_forgery.onnx is missing"),
        ("train_detector", "--pool empty", "no training pool in empty"),
        ("train_detector", "--evaluate", "yunet_n_dynamic.onnx is missing"),
        ("train_face", "--pool empty", "no training pool in empty"),
        ("train_voice", "--without parrots --fresh", "no family 'parrots'"),
        ("train_voice", "--encoder gone", "gone is missing"),
        ("voice_ear", "--encoder gone", "gone is missing"),
        ("voice_ear", "--encoder empty", "empty is no model in ORT format"),
        ("voice_ear", "--encoder gone --without parrots", "no family 'parrots'"),
        ("train_face", "--start-from gone", "gone is missing"),
        ("evaluate", "", "give a folder"),
        ("evaluate", "gone", "gone is no folder"),
        ("evaluate", "empty --sections nonsense", "no section nonsense"),
        ("evaluate", "empty --limit -3", "'-3' is no whole number of at least 1"),
        ("evaluate", "empty --limit 0", "'0' is no whole number of at least 1"),
        ("evaluate", "empty --jobs none", "'none' is no whole number of at least 1"),
        ("evaluate", "empty --json gone/numbers.json", "there is no folder gone"),
        ("evaluate", "empty --out gone/page.md", "there is no folder gone"),
        ("evaluate", "empty --worst file/worst", "file/worst is no folder"),
        ("evaluate", "empty --images file", "file is no folder"),
        ("render_demo", "file", "file is no folder"),
        ("evaluate", "--render numbers.json", "--render needs --out"),
        ("evaluate", "--render numbers.json --out page.md", "numbers.json cannot be read"),
    ],
)
def test_wrong_wishes_are_told_at_once(name: str, arguments: str, told: str, failing: Failing) -> None:
    assert told in failing(f"export.{name}", *arguments.split())


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", "", "\xff"])
def test_a_page_is_made_of_an_evaluations_numbers_only(text: str, tmp_path: Path) -> None:
    (tmp_path / "numbers.json").write_text(text, "latin-1")
    with pytest.raises(ConfigError, match="give the --json of an earlier run"):
        read_numbers(tmp_path / "numbers.json")


def test_the_published_numbers_can_be_rendered() -> None:
    published = REPOSITORY / "docs/evaluation.json"
    assert read_numbers(published) == json.loads(published.read_text())


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    check_can_write(None, tmp_path / "new.json")
    with pytest.raises(ConfigError, match="is a folder or protected"):
        check_can_write(tmp_path)


def test_the_demos_help_renders_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["render_demo", "--help"])
    with pytest.raises(SystemExit) as ended:
        render_demo.main()
    assert ended.value.code == 0
    assert "call.mp4" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

"""The command line as a user meets it: another process, its output and its exit code."""

import json
import os
import signal
import socket
import subprocess
import sys
import wave
from pathlib import Path
from urllib.request import urlopen

import pytest

from monitor.inference.engine import embedded_models
from monitor.service.report import as_text, exit_code, media_files

ROOT = Path(__file__).parents[2]
CALL = ROOT / "monitor/demo/call.mp4"
needs_models = pytest.mark.skipif(not (embedded_models() / "calibration.json").is_file(), reason="needs the trained models")


def command(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = [sys.executable, "-m", "monitor", *map(str, arguments)]
    return subprocess.run(started, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_check_config_says_that_all_is_well(tmp_path: Path) -> None:
    done = command("check-config", "--config", ROOT / "config.yaml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "the configuration is good: 127.0.0.1:8080 without a token, from this machine only; streams: none (publishers come by WHIP)\n"
    )


def test_check_config_finds_the_file_of_this_folder_and_names_every_problem(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("server:\n  prot: 1\nmodels:\n  provider: gpu\n")
    done = command("check-config", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        'error: config.yaml:2: server.prot: unknown key; did you mean "port"?',
        "error: config.yaml:4: models.provider: must be one of 'cpu', 'cuda' or 'tensorrt', not 'gpu'",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--set", "server.prot=1"), 'error: --set: server.prot: unknown key; did you mean "port"?'),
        (("run", "--config", "nope.yaml"), "error: nope.yaml: cannot be read (No such file or directory); give the path"),
        (("run", "--set", "log.incidents_path=no/x"), "log.incidents_path: no/x cannot be written"),
        (("scan", "empty"), "error: no media files in empty; name a file"),
        (("scan", "empty", "--format", "xml"), "Invalid value for '--format'"),
        (("scan", "x.mp4", "--set", "models.dir=empty"), "error: model file empty/face_detector.onnx is missing"),
        (("models", "list", "--set", "models.dir=empty"), "error: no .onnx files in empty"),
        (("dmeo",), "No such command 'dmeo'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = command(*arguments, "--set", "server.port=0", folder=tmp_path) if arguments[0] == "run" else command(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("demo", "--set", f"server.port={port}", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: port {port} on 127.0.0.1 is taken by another program; stop it")


def test_version_and_help_have_examples(tmp_path: Path) -> None:
    assert command("--version", folder=tmp_path).stdout.startswith("deepfake-monitor, version ")
    for name in (["run"], ["scan"], ["demo"], ["check-config"], ["models", "list"], ["models", "verify"]):
        assert f"Example:  deepfake-monitor {' '.join(name)}" in command(*name, "--help", folder=tmp_path).stdout


@needs_models
def test_scan_gives_one_line_for_each_file_and_says_which_could_not_be_read(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "A CALL.MP4").write_bytes(CALL.read_bytes())
    (clips / "cut.mp4").write_bytes(CALL.read_bytes()[:1000])
    (clips / "empty.wav").touch()
    (clips / "notes.txt").write_text("not looked at")
    with wave.open(str(clips / "silence.wav"), "wb") as silence:
        silence.setparams((1, 2, 16_000, 0, "NONE", ""))
        silence.writeframes(b"\0\0" * 32_000)
    done = command("scan", "clips", "missing.mp4", "--format", "json", "--heatmaps", "maps", folder=tmp_path)
    assert done.returncode == 3
    rows = {Path(row["source"]).name: row for row in map(json.loads, done.stdout.splitlines())}
    assert list(rows) == ["A CALL.MP4", "cut.mp4", "empty.wav", "silence.wav", "missing.mp4"]
    assert {name for name, row in rows.items() if "error" in row} == {"cut.mp4", "empty.wav", "missing.mp4"}
    assert rows["silence.wav"]["verdicts"]["audio"]["reason"] == "no_speech"
    assert rows["silence.wav"]["verdicts"]["video"]["reason"] == rows["silence.wav"]["verdicts"]["sync"]["reason"] == "no_video_track"
    assert rows["A CALL.MP4"]["verdicts"]["video"]["p_fake"] is not None
    assert list((tmp_path / "maps").glob("A CALL.MP4*.png"))
    assert command("scan", clips / "silence.wav", folder=tmp_path).returncode == 2
    assert command("models", "verify", folder=tmp_path).returncode == 0


@needs_models
def test_the_demo_answers_and_stops_cleanly(tmp_path: Path) -> None:
    started = [sys.executable, "-m", "monitor", "demo", "--set", "server.port=0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(started, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        url = demo.stderr.readline().split()[3]
        with urlopen(url, timeout=60) as page:
            assert b"deepfake-monitor" in page.read()
        for line in demo.stderr:
            if "stream demo: live" in line:
                break
        demo.send_signal(signal.SIGTERM)
        rest = demo.stderr.read()
        assert demo.wait(30) == 0
    assert "stream demo: ended (stopped)" in rest
    assert "Traceback" not in rest


def result(audio: str = "insufficient", video: str = "insufficient") -> dict[str, object]:
    verdicts = {
        modality: {"state": state, "reason": "no_speech" if state == "insufficient" else None, "p_fake": 0.5, "coverage": 0.5}
        for modality, state in (("audio", audio), ("video", video))
    }
    segments = [{"modality": "video", "start_s": 4.0, "end_s": 12.0}] if video == "fake" else []
    return {"source": "a.mp4", "duration_s": 12.0, "verdicts": verdicts, "segments": segments}


ERROR: dict[str, object] = {"source": "clips/a.mp4", "error": "clips/a.mp4: is empty"}


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([result("genuine")], 0),
        ([result("suspicious")], 0),
        ([result("genuine"), result("genuine", "fake")], 1),
        ([result()], 2),
        ([result(), result("genuine")], 0),
        ([ERROR], 3),
        ([ERROR, result("fake")], 3),
    ],
)
def test_exit_codes(results: list[dict[str, object]], code: int) -> None:
    assert exit_code(results) == code


def test_text_for_people() -> None:
    assert str(as_text(result("genuine", "fake"))).splitlines() == [
        "a.mp4  12.0 s",
        "  voice        genuine      0.50  judged 50% of the time",
        "  face         FAKE         0.50  judged 50% of the time; forged 4.0–12.0 s",
    ]
    assert str(as_text(ERROR)).splitlines() == ["clips/a.mp4", "  could not be read: is empty"]


def test_folders_are_walked_for_media_and_named_files_are_always_tried(tmp_path: Path) -> None:
    for name in ("b.MP4", "a.wav", "notes.txt", ".hidden.mp4", "deep/er/c.WebM", ".git/d.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in media_files([tmp_path, tmp_path / "notes.txt"])]
    assert found == ["a.wav", "b.MP4", "deep/er/c.WebM", "notes.txt"]

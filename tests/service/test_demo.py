"""The bundled demo call is what its ground truth says it is."""

import json
from pathlib import Path
from typing import Any

import av
import pytest

from monitor.alerts.policy import Policies
from monitor.inference.engine import Engine
from monitor.service.scan import scan_files
from monitor.windows import WINDOW_S

FOLDER = Path(__file__).parents[2] / "monitor" / "demo"
TRUTH = json.loads((FOLDER / "truth.json").read_text())


def test_truth_lies_inside_the_call() -> None:
    assert {entry["modality"] for entry in TRUTH["forged"]} == {"audio", "video"}
    for entry in TRUTH["forged"]:
        assert 0 <= entry["start_s"] < entry["end_s"] <= TRUTH["duration_s"]
        assert entry["what"]


def test_begins_with_seconds_in_which_nothing_is_forged() -> None:
    assert min(entry["start_s"] for entry in TRUTH["forged"]) >= 5


def test_call_decodes_to_its_end_and_both_tracks_start_together() -> None:
    with av.open(str(FOLDER / "call.mp4")) as file:
        frames = [frame.time for frame in file.decode(video=0)]
    with av.open(str(FOLDER / "call.mp4")) as file:
        chunks = [(frame.time, frame.samples / frame.sample_rate) for frame in file.decode(audio=0)]
    assert frames[0] == pytest.approx(0, abs=0.05)
    assert frames[-1] + 0.04 == pytest.approx(TRUTH["duration_s"], abs=0.1)
    assert chunks[0][0] == pytest.approx(0, abs=0.07)
    assert sum(chunks[-1]) == pytest.approx(TRUTH["duration_s"], abs=0.1)


def test_call_is_small_and_says_where_it_comes_from() -> None:
    assert (FOLDER / "call.mp4").stat().st_size < 1_500_000
    assert set(TRUTH["origin"]) >= {"picture", "voice", "rendered_by"}


@pytest.fixture(scope="module")
def scanned() -> dict[str, Any]:
    engine = Engine.load()
    return next(scan_files([FOLDER / "call.mp4"], engine, Policies.from_calibration(engine.calibration)))


def test_voice_incidents_lie_where_the_voice_is_forged(scanned: dict[str, Any]) -> None:
    truths = [(entry["start_s"], entry["end_s"]) for entry in TRUTH["forged"] if entry["modality"] == "audio"]
    found = [(segment["start_s"], segment["end_s"]) for segment in scanned["segments"] if segment["modality"] == "audio"]
    assert scanned["verdicts"]["audio"]["state"] == "fake"
    for start_s, end_s in found:
        assert any(start_s >= true_start_s - WINDOW_S and end_s <= true_end_s + WINDOW_S for true_start_s, true_end_s in truths)
    assert any(start_s < truths[0][1] and end_s > truths[0][0] for start_s, end_s in found), "the first forged stretch was missed"


def test_the_face_is_followed_through_the_whole_call(scanned: dict[str, Any]) -> None:
    assert len(scanned["tracks"]) == 1
    assert scanned["verdicts"]["video"]["coverage"] > 0.95

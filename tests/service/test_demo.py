"""The bundled demo call is what its ground truth says it is."""

import json
from pathlib import Path

import av
import pytest

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

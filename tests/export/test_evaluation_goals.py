"""Goals are counted from the numbers, kept ones and missed ones alike."""

import json

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

from export.data.pool import REPOSITORY
from export.evaluation.goals import goals
from export.evaluation.render import goal, report

CALLED = {"real": {"genuine": 9, "fake": 1}, "fake": {"fake": 7, "suspicious": 3}}
NUMBERS = {
    "overview": {
        "modalities": {"audio": {"auc": [0.99, 0.98, 1.0], "matched_auc": None, "states": CALLED}},
        "offsets": {"clips": 10, "measured": 10, "right": 9},
    },
    "cost": {"call": {"files": 1, "media_s": 48.0, "stages": {}, "without_decoding": 21.5}},
    "cards": {
        "voice_forgery": {"family_left_out": {"conversion": {"auc_matched": 0.78}}},
        "calibration": {"sync": {"false incidents per hour": 0.1, "rehearsed hours": 10.0}},
    },
    "galleries": {"media_s": 1200.0, "all": {"false": {"audio": 0, "video": 2}}},
    "calls": {"segments": {"modalities": {"sync": {"forged_stretches": 3, "ap": {"0.5": 0.57, "0.75": 0.4}}}}},
}


def test_what_is_reached_and_what_is_missed_by_how_much() -> None:
    rows = {(row.what, row.on): row for row in goals(NUMBERS)}
    assert rows["audio, AUC", "this folder"].met
    assert rows["offset right within 40 ms", "shifted clips"].met
    assert rows["false incidents in ten hours: sync", "rehearsed calls of one person"].met, "the budget itself is allowed"
    few_minutes = rows["false incidents in ten hours: audio", "made calls with several faces in one picture"]
    assert few_minutes.kept
    assert not few_minutes.met, "twenty minutes without one show no rate of one in ten hours"
    missed = {what: (row.shown, row.off_by) for (what, _), row in rows.items() if not row.kept}
    assert missed == {
        "voices, matched AUC: conversion": ("", pytest.approx(0.17)),
        "genuine clips called fake": ("1 of 10", 1),
        "forged clips called fake: audio": ("7 of 10", pytest.approx(0.1)),
        "false incidents in ten hours: video": ("2 in 0.3 h", pytest.approx(59)),
        "segments, AP@.5: sync": ("", pytest.approx(0.28)),
        "CPU a second of call, without decoding": ("21.5 ms", pytest.approx(1.5)),
    }


def test_without_numbers_there_are_no_goals() -> None:
    assert goals({}) == []
    assert goals({"overview": {"modalities": {}, "offsets": None}, "cards": {}}) == []


def test_the_published_numbers_have_every_goal() -> None:
    numbers = json.loads((REPOSITORY / "docs" / "evaluation.json").read_text())
    found = {row.what.partition(":")[0] for row in goals(numbers)}
    assert found >= {"faces, matched AUC", "stills, AUC", "voices, matched AUC", "audio, AUC", "sync, AUC", "maps, pixel AUC"}
    assert found >= {"offset right within 40 ms", "genuine clips called fake", "forged clips called fake", "segments, AP@.5"}
    assert "CPU a second of call, without decoding" in found
    page = report(numbers)
    assert "Wanted and reached" in page
    assert "| too little to show it |" in page


def test_goals_as_they_are_printed() -> None:
    assert [goal(value) for value in (0.9, 0, 20.0, 1.54, 12)] == [".90", "0", "20", "1.5", "12"]

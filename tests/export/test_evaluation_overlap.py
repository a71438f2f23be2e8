"""Which forged clips of the validation set come from generators that were trained on: named by the pool's own lists, counted apart."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install -e .[export])")

from export.data.folds import same_name, wild_split
from export.data.layouts import LabelledClip, read_layout
from export.data.pool import PoolError, pool_folder, read_table
from export.evaluation.judging import Judgement, counts
from export.evaluation.overlap import overlap, trained_generators
from export.evaluation.overview import overview
from export.evaluation.render import report
from export.evaluation.run import plain


@pytest.fixture(scope="module")
def pool() -> Path:
    try:
        return pool_folder()
    except PoolError as error:
        pytest.skip(str(error))


@pytest.mark.pool
def test_devset_shares_these_generators_with_training_and_no_page(pool: Path) -> None:
    clips, trained = read_layout(pool / "data" / "devset"), trained_generators(pool)
    forged = {m: [clip for clip in clips if counts(clip, m) and clip.label(m) == "fake"] for m in trained}
    shared = {m: Counter(clip.generator for clip in forged[m] if same_name(clip.generator) in trained[m]) for m in trained}
    assert len(forged["video"]) == 66
    assert shared["video"] == {"EMO": 6, "FF++ FaceSwap": 1}
    assert not shared["audio"]
    pages = {row["source"] for row in wild_split(read_table(pool / "data" / "wild"))[0]} - {""}
    assert not pages & {clip.source for clip in clips}


@pytest.fixture
def small_pool(tmp_path: Path) -> Path:
    """Genuine faces and voices, and one generated voice."""
    for name, table in (
        ("wild", "file,label_video,family,generator,group,source,pair\n" + "".join(f"{k},real,,,g{k},s{k},\n" for k in range(8))),
        ("voices", "file,label,generator,source,speaker\na,fake,Known TTS,page,\nb,real,,page,\n"),
    ):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "clips.csv").write_text(table)
    return tmp_path


def judged_clip(name: str, label: str, generator: str, p: float) -> tuple[LabelledClip, Judgement]:
    told: dict[str, Any] = {"p_fake": p, "state": "genuine", "reason": None, "coverage": 1.0, "threshold": 0.8, "offset_ms": None}
    verdicts = {"audio": told, "video": told, "sync": {**told, "p_fake": None, "state": "insufficient", "reason": "too_short"}}
    said = Judgement({"duration_s": 3.0, "elapsed_s": 0.3, "verdicts": verdicts, "segments": [], "tracks": []})
    return LabelledClip(Path(name), label, label, generator=generator, group=name), said  # type: ignore[arg-type]


JUDGED = [
    judged_clip("genuine", "real", "", 0.4),
    judged_clip("old", "fake", "Inswapper", 0.9),
    judged_clip("older", "fake", "inswapper (128)", 0.8),
    judged_clip("new", "fake", "Unheard-of", 0.1),
    judged_clip("spoken", "fake", "known-TTS", 0.2),
]


def test_clips_of_trained_generators_are_counted_apart(small_pool: Path) -> None:
    told = overlap(JUDGED, small_pool, draws=5)
    assert told["video"]["trained_on"] == {"Inswapper": 1, "inswapper (128)": 1}
    assert {key: told["video"][key]["auc"][0] for key in ("all", "strangers", "known")} == {"all": 0.5, "strangers": 0.0, "known": 1.0}
    assert told["audio"]["trained_on"] == {"known-TTS": 1}
    assert overlap(JUDGED, small_pool / "nowhere", draws=5) == {}
    assert overlap(JUDGED[:1], small_pool, draws=5) == {}


def test_the_page_shows_the_numbers_with_and_without_them(small_pool: Path) -> None:
    numbers: dict[str, Any] = {
        "folder": "set", "command": "c", "models": {}, "skipped": {}, "cards": {}, "seconds": {"all": 61.0},
        "thresholds": {"audio": 0.9, "video": 0.85, "sync": 0.85}, "short_thresholds": {"audio": None, "video": 0.5, "sync": None},
        "overview": overview(JUDGED, draws=5) | {"files_s": 15.4}, "overlap": overlap(JUDGED, small_pool, draws=5),
    }  # fmt: skip
    text = report(plain(numbers))
    assert "saw other clips of Inswapper (1 clip here), inswapper (128) (1 clip here)." in text
    assert "| without generators that were trained on | 2 | .000 (.000–.000) | – | 0 |" in text
    assert "- audio: `threshold` .900, coverage" in text
    assert "- video: `threshold` .850, and `short_threshold` .500 where" in text
    assert "5 clips, 15 s of media" in text
    assert "end after 15 s in all" in text
    numbers["overlap"]["video"]["trained_on"] = {}
    assert "| video | forged | AUC" not in report(plain(numbers))

"""The command: a real run over small clips with the shipped models, and the page that is made of its numbers."""

import json
import pickle
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install -e .[export])")

from export.data.layouts import LabelledClip, LayoutError, Span
from export.data.pool import REPOSITORY
from export.evaluate import main
from export.evaluation.calls import false_incidents, segments
from export.evaluation.facts import facts_of, leading_silence_s
from export.evaluation.galleries import of_kind
from export.evaluation.judging import Judgement, Product, balanced, union_label, union_p, union_scores
from export.evaluation.looks import looks_of_pictures, looks_of_sound, with_looks
from export.evaluation.maps import Reference, map_numbers
from export.evaluation.metrics import Scores
from export.evaluation.nuisances import alone, alone_by_name, within_names
from export.evaluation.overview import offsets, overview
from export.evaluation.plots import draw
from export.evaluation.render import by_hand, card_rows, number, ranged, report
from export.evaluation.run import BY_LENGTH, SECTIONS, plain
from export.evaluation.sources import samples_of, sounding
from export.evaluation.worst import check_outside, worst_of, write_worst
from monitor.media import Alert, AudioChunk, MediaItem
from monitor.sources import Source
from tests.synth import Recipe, write_media

MODELS = REPOSITORY / "exported_models"


def verdict(p: float | None, state: str, reason: str | None = None, offset_ms: float | None = None) -> dict[str, Any]:
    return {
        "state": state,
        "reason": reason,
        "p_fake": p,
        "coverage": 1.0 if p is not None else 0.0,
        "threshold": 0.8,
        "offset_ms": offset_ms,
    }


def said(audio: float | None, video: float | None, offset_ms: float | None = None, found: tuple[dict[str, Any], ...] = ()) -> Judgement:
    def of(p: float | None) -> dict[str, Any]:
        return verdict(p, "insufficient" if p is None else "fake" if p >= 0.8 else "genuine", "no_face" if p is None else None)

    verdicts = {"audio": of(audio), "video": of(video), "sync": verdict(None, "insufficient", "too_short", offset_ms)}
    return Judgement({"duration_s": 3.0, "elapsed_s": 0.3, "verdicts": verdicts, "segments": list(found), "tracks": []})


def clip(name: str, audio: str = "", video: str = "", **more: Any) -> LabelledClip:
    return LabelledClip(Path(name), audio, video, group=more.pop("group", name), **more)  # type: ignore[arg-type]


JUDGED = [
    (clip("a", "real", "real", source="p", people="women"), said(0.1, 0.2)),
    (clip("b", "real", "real", source="p", people="men"), said(0.3, 0.9)),
    (clip("c", "fake", "real", source="q", generator="TTS", family="speech"), said(0.9, 0.1)),
    (clip("d", "", "fake", source="q", generator="Swap", family="swap"), said(None, 0.7)),
    (clip("e", "fake", "fake", source="q", generator="TTS"), said(0.85, None)),
    (clip("f", "real", "real", derived=True), said(0.99, 0.99)),
]


def test_union_is_any_of_both() -> None:
    assert union_p(said(0.5, 0.5)) == 0.75
    assert union_p(said(None, 0.4)) == pytest.approx(0.4)
    assert union_p(said(None, None)) is None
    assert [union_label(clip("x", a, v)) for a, v in (("real", "fake"), ("real", ""), ("", ""))] == ["fake", "real", ""]
    scores = union_scores(JUDGED)
    assert scores.forged.tolist() == [False, False, True, True, True]
    assert scores.p.tolist() == pytest.approx([0.28, 0.93, 0.91, 0.7, 0.85])


def test_overview_counts_states_reasons_and_names() -> None:
    told = overview(JUDGED, draws=20)
    video = told["modalities"]["video"]
    assert (video["genuine"], video["forged"]) == (3, 1)
    assert video["states"] == {"real": {"genuine": 2, "fake": 1}, "fake": {"genuine": 1, "insufficient": 1}}
    assert video["not_judged"] == {"no_face": 1}
    assert [(each["name"], each["fake"]) for each in video["people"]] == [("men", 1), ("women", 0)]
    assert video["generators"][0] == {"name": "Swap", "clips": 1, "auc": pytest.approx(2 / 3), "called_fake": 0}
    assert told["modalities"]["audio"]["auc"][0] == 1.0
    assert told["union"]["called"] == {"real": {"fake": 1, "clips": 2}, "fake": {"fake": 2, "clips": 3}}
    assert "sync" not in told["modalities"]


def test_offsets_are_measured_against_the_clip_they_were_made_of() -> None:
    shifted = clip("shift400_a", "real", "real", label_sync="shift", generator="audio 400 ms late")
    base = (clip("a", "real", "real"), said(0.1, 0.1, offset_ms=-60.0))
    assert offsets([base, (shifted, said(0.1, 0.1, offset_ms=350.0))]) == {"clips": 1, "measured": 1, "right": 1}
    assert offsets([base, (shifted, said(0.1, 0.1, offset_ms=450.0))]) == {"clips": 1, "measured": 1, "right": 0}


def test_balanced_takes_both_labels_and_many_generators() -> None:
    clips = [clip(f"r{k}", "real") for k in range(9)] + [clip(f"f{k}", "fake", generator="many") for k in range(9)]
    chosen = balanced([*clips, clip("rare", "fake", generator="rare")], "audio", 6)
    assert [each.label_audio for each in chosen] == ["real"] * 3 + ["fake"] * 3
    assert "rare" in {each.generator for each in chosen}
    assert chosen == balanced([*clips, clip("rare", "fake", generator="rare")], "audio", 6)


def test_segments_are_taken_from_incidents() -> None:
    opened = Alert("i", "opened", "s", "video", None, 5.0, 2.5, 0.9, 0.8, 1.0, 3.0, "")
    found = said(0.1, 0.9, found=({"modality": "video", "track_id": 0, "start_s": 2.0, "end_s": 6.0, "p_fake": 0.9},))
    judged = [(clip("a", "real", "fake", segments=(Span("video", 2.0, 6.0),)), Judgement(found.result, (opened,)))]
    told = segments(judged)["modalities"]
    assert set(told) == {"video"}
    assert told["video"]["ap"] == {"0.5": 1.0, "0.75": 1.0, "0.9": 1.0, "0.95": 1.0}
    assert told["video"]["delay_s"]["median"] == 3.0


def test_a_clip_of_unknown_truth_is_neither_a_miss_nor_a_false_incident() -> None:
    opened = Alert("i", "opened", "s", "sync", 0, 5.0, 2.5, 0.9, 0.8, 1.0, 3.0, "")
    swapped = clip("swapped", "real", "fake", segments=(Span("video", 2.0, 6.0, "swap"),))
    dub = clip("dub", "real", "real", label_sync="fake", segments=(Span("sync", 2.0, 6.0, "dub"),))
    told = segments([(swapped, Judgement(said(0.1, 0.1).result, (opened,))), (dub, Judgement(said(0.1, 0.1).result, (opened,)))])
    assert (told["modalities"]["sync"]["clips"], told["modalities"]["sync"]["false"]) == (1, 0)
    assert told["kinds"] == {"video": {"swap": [0, 1]}, "sync": {"dub": [1, 1]}}


def test_stretches_that_are_not_judged_by_design_count_and_those_that_are_stand_beside_them() -> None:
    opened = Alert("i", "opened", "s", "sync", 0, 5.0, 2.5, 0.9, 0.8, 1.0, 3.0, "")
    dub = clip("dub", "real", "real", label_sync="fake", segments=(Span("sync", 2.0, 6.0, "dub"),))
    still = clip("still", "real", "real", label_sync="fake", segments=(Span("sync", 2.0, 6.0, "frozen"),))
    judged = [(dub, Judgement(said(0.1, 0.1).result, (opened,))), (still, said(0.1, 0.1))]
    told = segments(judged)
    assert (told["modalities"]["sync"]["forged_stretches"], told["modalities"]["sync"]["noticed"]) == (2, 1)
    assert {name: (each["forged_stretches"], each["noticed"]) for name, each in told["by_design"].items()} == {
        "sync without frozen": (1, 1)
    }
    assert "by_design" not in segments(judged[:1])


def test_a_nuisance_alone() -> None:
    assert alone([1.0, 2.0, 3.0, 4.0], [True, True, False, False]) == 1.0
    names, forged = ["page"] * 20 + ["studio"] * 20, [True] * 18 + [False] * 4 + [True] * 0 + [False] * 18
    assert alone_by_name(names, forged) > 0.85
    assert 0.35 < alone_by_name(["one"] * 40, forged) < 0.65  # one name tells nothing
    mixed = Scores.of([0.1, 0.9, 0.2, 0.3], [False, True, False, True], list("abcd"))
    assert within_names(mixed, ["x", "y", "x", "x"]) == (1.0, 1)


def test_leading_silence() -> None:
    sound = np.concatenate([np.zeros(8_000), 0.3 * np.sin(np.arange(16_000))]).astype(np.float32)
    assert leading_silence_s(sound) == pytest.approx(0.5, abs=0.02)
    assert leading_silence_s(sound[8_000:]) == 0.0


def test_what_was_judged_can_go_to_another_process(product: Product, folder: Path) -> None:
    judged = product.judge_all([clip(str(folder / "0.mp4"), "real", "real")], "one")
    assert pickle.loads(pickle.dumps(judged)) == judged
    assert set(BY_LENGTH) == set(SECTIONS)


def test_looks_are_what_they_say() -> None:
    flat, noisy = np.full((96, 96, 3), 100, np.uint8), np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    still, moving = looks_of_pictures([flat, flat]), looks_of_pictures([flat, noisy])
    assert (still["n_luma"], still["n_contrast"], still["n_satur"], still["n_motion"]) == (100.0, 0.0, 0.0, 0.0)
    assert moving["n_motion"] > 10
    assert moving["n_sharp"] > still["n_sharp"]
    tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32)
    sound = looks_of_sound(tone)
    assert sound["n_rolloff_hz"] == pytest.approx(1_000, abs=20)
    assert sound["n_level_db"] == pytest.approx(-3.0, abs=0.1)
    assert looks_of_sound(tone[:100]) == {}


def test_looks_of_the_table_are_left_alone(product: Product, folder: Path) -> None:
    bare = clip(str(folder / "0.mp4"), "real", "real")
    ((measured, _),) = with_looks(product, [(bare, said(0.1, 0.1))])
    assert set(measured.nuisances) == {"n_level_db", "n_rolloff_hz", "n_noise_db"}  # no face, no looks of it
    told = clip(str(folder / "0.mp4"), "real", "real", nuisances={"n_noise_db": -60.0, "n_luma": 1.0})
    assert with_looks(product, [(told, said(0.1, 0.1)), (bare, said(0.1, 0.1))])[1][0].nuisances == {}


def test_maps_by_hand() -> None:
    mask = np.zeros((1, 16, 16), np.float32)
    mask[0, :4] = 1.0
    right = np.where(mask > 0.5, 2.0, -2.0).astype(np.float32)
    assert map_numbers(right, mask) == {"pixel_auc": 1.0, "pixel_auc_all_cells": 1.0, "iou": 1.0, "crops": 1}
    half = right.copy()
    half[0, :2] = -3.0
    assert map_numbers(half, mask)["iou"] == 0.5
    assert map_numbers(right - 5.0, mask)["iou"] == 0.0
    assert map_numbers(right - 5.0, mask, cut=-5.0)["iou"] == 1.0
    assert map_numbers(right, np.zeros_like(mask))["crops"] == 0


def test_maps_are_cut_as_other_people_have_it_and_stand_beside_a_constant_map() -> None:
    rng = np.random.default_rng(2)
    masks = np.zeros((40, 16, 16), np.float32)
    for mask in masks:
        top, left = rng.integers(2, 8, 2)
        mask[top : top + 6, left : left + 6] = 1.0
    maps = (4.0 * masks - 7.0 + rng.normal(0, 0.2, masks.shape)).astype(np.float32)  # everything far below p = .5
    numbers = Reference.of(maps[:20], masks[:20]).numbers(maps[20:], masks[20:])
    assert numbers["iou"] > 0.9 > map_numbers(maps[20:], masks[20:])["iou"]
    assert 0.7 < numbers["constant"]["pixel_auc"] < 0.95 < numbers["pixel_auc"], "forgeries lie in the middle, which tells most cells"
    assert numbers["constant"]["iou"] < 0.6
    same = np.broadcast_to(masks[:20].mean(0), masks[:20].shape)
    lazy = Reference.of(np.array(same), masks[:20]).numbers(np.array(same), masks[:20])
    assert lazy["constant"] == {key: value for key, value in lazy.items() if key != "constant"}, "a map that is the mean is worth as much"


def test_no_pictures_of_people_go_into_the_repository() -> None:
    with pytest.raises(LayoutError, match="outside"):
        check_outside(REPOSITORY / "docs" / "worst")


def test_the_worst_come_first() -> None:
    assert [each.path.name for each, _ in worst_of(JUDGED, "video", "real", 2)] == ["b", "a"]
    assert [each.path.name for each, _ in worst_of(JUDGED, "audio", "fake", 2)] == ["e", "c"]


def test_a_missed_dub_has_its_sheet(tmp_path: Path) -> None:
    dub = said(0.1, 0.2)
    dub.result["verdicts"]["sync"] = verdict(0.3, "genuine")
    write_worst([(clip("dub.mp4", label_sync="fake"), dub)], tmp_path)
    assert (tmp_path / "sync.png").is_file()
    assert "sync,missed,0.3,genuine,,dub.mp4" in (tmp_path / "worst.csv").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of buzzing sound and a picture without faces, one of them without sound, one broken."""
    folder = tmp_path_factory.mktemp("labelled")
    lines = ["file,label_audio,label_video,generator,source"]
    for number_, (audio, video) in enumerate((("real", "real"), ("fake", "fake"), ("none", "fake"))):
        recipe = Recipe(seconds=2.6, audio_codec=None if audio == "none" else "aac")
        write_media(folder / f"{number_}.mp4", recipe)
        lines.append(f"{number_}.mp4,{audio},{video},{'made' if 'fake' in (audio, video) else ''},page{number_ % 2}")
    (folder / "broken.mp4").write_bytes(b"no media")
    (folder / "labels.csv").write_text("\n".join([*lines, "broken.mp4,real,real,,page0"]) + "\n")
    return folder


def test_a_real_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, numbers = tmp_path / "page.md", tmp_path / "numbers.json"
    page.write_text("old\n<!-- by hand -->\nWords of a person.\n<!-- /by hand -->\n")
    wanted = ["--quick", "--sections", "conditions,calls", "--models", str(MODELS), "--calls", str(tmp_path)]
    main([str(folder), *wanted, "--out", str(page), "--json", str(numbers), "--worst", str(tmp_path / "worst")])
    told, text = json.loads(numbers.read_text()), page.read_text()
    assert capsys.readouterr().out == ""
    assert told["seconds"].keys() == {"overview", "conditions", "calls", "all"}
    before = text
    main(["--render", str(numbers), "--out", str(page)])
    assert page.read_text() == before
    assert told["overview"]["clips"] == 4
    assert len(told["overview"]["unreadable"]) == 1
    assert told["overview"]["modalities"]["video"]["not_judged"] == {"no_face": 3}
    lost = {each["name"]: each["audio"]["judged"] for each in told["conditions"]}
    assert lost["sound only"] == lost["both"] > 0
    assert lost["pictures only"] == 0
    assert told["calls"]["missing"].startswith("no made calls")
    assert "Words of a person." in text
    assert "![ROC curves](images/evaluation_roc.svg)" in text
    assert (tmp_path / "images" / "evaluation_roc.svg").stat().st_size > 2_000
    assert (tmp_path / "worst" / "audio.png").is_file()


@pytest.fixture(scope="module")
def product() -> Any:
    with Product(MODELS) as product:
        yield product


def test_genuine_clips_make_long_calls(product: Product, folder: Path) -> None:
    clips = [clip(str(folder / f"{k}.mp4"), "real", "real", source="p") for k in (0, 0)]
    told = false_incidents(product, clips, 6.0, 4.0)
    assert told["calls"] == 1
    assert told["media_s"] == pytest.approx(5.2, abs=0.2)


def test_every_way_is_judged_from_one_reading(product: Product, folder: Path) -> None:
    clips = [clip(str(folder / f"{k}.mp4"), "real") for k in (0, 2)]  # the second has no sound
    lengths: list[int] = []

    def half(items: list[MediaItem], rng: np.random.Generator) -> Source:
        lengths.append(len(samples_of(items)))
        return sounding(samples_of(items)[: lengths[-1] // 2])

    told = product.judge_ways(clips, AudioChunk, {"whole": lambda items, rng: sounding(samples_of(items)), "half": half}, 2.0, "ways")
    assert [[each.path.name for each, _ in rows] for rows in told.values()] == [["0.mp4"], ["0.mp4"]]
    assert told["whole"][0][1].result["duration_s"] == pytest.approx(2.0, abs=0.1)
    assert told["half"][0][1].result["duration_s"] == pytest.approx(1.0, abs=0.1)


def test_facts_of_a_file(folder: Path) -> None:
    facts = facts_of(clip(str(folder / "0.mp4")))
    assert (facts.height_px, facts.frame_rate_hz, facts.has_sound) == (120.0, 25.0, 1.0)
    assert (facts.picture_codec, facts.sound_codec.split()[0]) == ("h264", "aac")
    assert facts.length_s == pytest.approx(2.6, abs=0.1)
    silent = facts_of(clip(str(folder / "2.mp4")))
    assert silent.has_sound == 0.0
    assert np.isnan(silent.loudness_db)
    assert (silent.picture_codec, silent.sound_codec) == ("h264", "")


NUMBERS: dict[str, Any] = {
    "folder": "set", "command": "c", "models": {"m": "0" * 64}, "skipped": {"maps": "no training pool"}, "cards": {},
    "seconds": {"overview": 3.0, "all": 61.0},
}  # fmt: skip


def test_the_page_has_every_number_and_says_what_is_missing() -> None:
    told = plain(NUMBERS | {"overview": overview(JUDGED, draws=20)})
    text = report(told)
    assert "6 clips" in text
    assert "| video | Swap | 1 | .667 | 0 of 1 |" in text
    assert "## Maps\nNot measured: no training pool" in text
    assert "False alarms by group of people" in text
    assert not re.search(r"nan|None|Undefined", text)


def point(name: str, level: int) -> dict[str, Any]:
    return {"name": name, "level": level, "auc": [0.7, 0.6, 0.8], "judged": 4, "false_alarms": 0, "genuine": 2}


def test_tables_have_as_many_cells_as_columns() -> None:
    told = plain(NUMBERS | {"overview": overview(JUDGED, draws=20)})
    suite = {"clips": 4, "points": [point("as found", 0), point("blur", 1), point("blur", 5), point("call: vp8", 5)]}
    told["robustness"] = {"seconds": 2.4, "pictures_hz": 5.0, "video": suite, "audio": suite}
    fold = {"auc": [0.6, 0.5, 0.7], "matched_auc": 0.55, "forged_with_twin": 3, "forged": 4, "held": 9}
    told["folds"] = {"clips": 9, "folds": [fold, fold], "all": fold, "families": {"swap": fold}, "left_out": {"swap": fold}}
    stretch = clip("a", segments=(Span("audio", 0.0, 2.0),))
    told["calls"] = {"segments": segments([(stretch, said(0.1, None))]), "of": "x", "genuine": None}
    counted = of_kind([])
    told["galleries"] = {"calls": 1, "media_s": 16.0, "kinds": {"gallery": counted, "gallery_dub": counted | {"dubbed": 1}}}
    told["galleries"] |= {"all": counted, "cpu_ms": {"2": 60.0, "6": 110.0}}
    both = {m: {"auc": [0.5, None, None], "judged": 1, "of": 2, "false_alarms": 0} for m in ("audio", "video")}
    told["conditions"] = [{"name": "both", "clips": 2, "union": {"auc": [None] * 3}, **both}]
    lines = report(told).splitlines()
    tables = [(a, b) for a, b in pairwise(lines) if a.startswith("|") and b.startswith("|")]
    assert len(tables) > 22
    assert "60 ms with 2 faces, 110 ms with 6 faces." in report(told)
    assert all(a.count("|") == b.count("|") for a, b in tables)
    assert "| blur | .70 (.60–.80) | .70 (.60–.80) | .70 (.60–.80) | 4 of 4 | 0 of 2 |" in lines
    assert "| call: vp8 | .70 (.60–.80) | – | .70 (.60–.80) | 4 of 4 | 0 of 2 |" in lines


def test_curves_are_drawn_without_dates(tmp_path: Path) -> None:
    told = {"overview": overview(JUDGED, draws=5)}
    assert draw(told, tmp_path / "a") == ["evaluation_roc.svg", "evaluation_reliability.svg"]
    draw(told, tmp_path / "b")
    assert (tmp_path / "a/evaluation_roc.svg").read_bytes() == (tmp_path / "b/evaluation_roc.svg").read_bytes()


def test_numbers_as_they_are_printed() -> None:
    assert [number(x) for x in (None, 0.5, 1.0)] == ["–", ".500", "1.000"]
    assert ranged([0.5, None, None]) == ".500"
    assert by_hand("nothing") == ""
    told = {"recall": 1.0, "held": {"auc": [0.7, 0.6, 0.8], "called_fake": [0, 44], "quantiles": [-2.0, 0.5, 1.0], "by": {"a": 1}}}
    assert card_rows(told) == [("", "recall 1.0"), ("held", "auc .700 (.600–.800); called fake 0/44; quantiles -2.0/0.5/1.0")]


def test_the_published_page_is_that_of_the_published_numbers() -> None:
    page, numbers = REPOSITORY / "docs/evaluation.md", REPOSITORY / "docs/evaluation.json"
    text = page.read_text()
    images = re.findall(r"\((images/evaluation_\w+\.svg)\)", text)
    assert all((page.parent / image).is_file() for image in images)
    assert report(json.loads(numbers.read_text()), images, by_hand(text)) == text


def test_a_folder_without_models_is_told_in_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--models", str(tmp_path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: model file {tmp_path}")

"""Public sets in miniature: the same folders, tables and names, files of no content."""

import json
from pathlib import Path
from typing import Any

import pytest

from export.data.layouts import LabelledClip, LayoutError, Span, read_layout
from tests.synth import Recipe, write_media


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"media")


def told(folder: Path, value: Any) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text(value if isinstance(value, str) else json.dumps(value))


def by_name(clips: list[LabelledClip]) -> dict[str, LabelledClip]:
    return {clip.path.name: clip for clip in clips}


def test_table(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    told(
        tmp_path / "labels.csv",
        "file,label_audio,label_video,label_sync,generator,source,kind,n_sharp,people\n"
        "a.mp4,real,fake,,SadTalker,page,as-found,3.5,women\n"
        "b.mp4,unknown,real,shift,audio 400 ms late,page,derived,,\n"
        "c.mp4,none,real,real,,,,,\n"
        "gone.mp4,real,real,,,,,,\n",
    )
    clips = by_name(read_layout(tmp_path))
    assert set(clips) == {"a.mp4", "b.mp4", "c.mp4"}
    assert clips["a.mp4"].label_video == "fake"
    assert clips["a.mp4"].group == "page"
    assert clips["a.mp4"].people == "women"
    assert clips["a.mp4"].nuisances == {"n_sharp": 3.5}
    assert (clips["b.mp4"].label_audio, clips["b.mp4"].label_sync, clips["b.mp4"].derived) == ("", "shift", True)
    assert clips["c.mp4"].group == "c.mp4"


def test_fakeavceleb(tmp_path: Path) -> None:
    put(
        tmp_path, "RealVideo-RealAudio/African/men/id00076/00109.mp4", "FakeVideo-FakeAudio/Asian (East)/women/id00300/00001_2_wavtolip.mp4"
    )
    told(
        tmp_path / "meta_data.csv",
        "source,target1,target2,method,category,type,race,gender,path,\n"
        "id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,FakeAVCeleb/RealVideo-RealAudio/African/men/id00076\n"
        "id00300,id1,2,wav2lip,D,FakeVideo-FakeAudio,Asian (East),women,00001_2_wavtolip.mp4,"
        "FakeAVCeleb/FakeVideo-FakeAudio/Asian (East)/women/id00300\n",
    )
    clips = by_name(read_layout(tmp_path))
    assert (clips["00109.mp4"].label_audio, clips["00109.mp4"].label_video, clips["00109.mp4"].people) == ("real", "real", "African men")
    forged = clips["00001_2_wavtolip.mp4"]
    assert (forged.label_audio, forged.label_video, forged.generator, forged.group) == ("fake", "fake", "wav2lip", "id00300")


def test_cmdfd(tmp_path: Path) -> None:
    put(tmp_path, "origin/id07445_cKsB2dym7Ms.mp4", "wav2lip/id07434-id07445.mp4", "VideoReTalk_Self/id00420-id00420.mp4")
    clips = by_name(read_layout(tmp_path))
    assert clips["id07445_cKsB2dym7Ms.mp4"].label_video == "real"
    assert clips["id07445_cKsB2dym7Ms.mp4"].group == "id07445"
    assert (clips["id07434-id07445.mp4"].label_audio, clips["id07434-id07445.mp4"].label_video) == ("real", "fake")
    assert clips["id07434-id07445.mp4"].group == "id07434"
    assert (clips["id00420-id00420.mp4"].generator, clips["id00420-id00420.mp4"].family) == ("VideoReTalk", "lip-sync, own voice")


def test_dfdc(tmp_path: Path) -> None:
    put(tmp_path, "dfdc_train_part_0/a.mp4", "dfdc_train_part_0/b.mp4", "dfdc_train_part_1/c.mp4")
    told(
        tmp_path / "dfdc_train_part_0/metadata.json",
        {"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}, "b.mp4": {"label": "REAL", "split": "train"}},
    )
    told(tmp_path / "dfdc_train_part_1/metadata.json", {"c.mp4": {"is_fake": 1, "augmentations": {}}})
    clips = by_name(read_layout(tmp_path))
    assert [clips[name].label_video for name in ("a.mp4", "b.mp4", "c.mp4")] == ["fake", "real", "fake"]
    assert clips["a.mp4"].group == clips["b.mp4"].group == "b.mp4"
    assert clips["a.mp4"].label_audio == ""
    assert len(read_layout(tmp_path / "dfdc_train_part_0")) == 2  # one part alone


def test_faceforensics(tmp_path: Path) -> None:
    put(
        tmp_path,
        "original_sequences/youtube/c23/videos/000.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
        "manipulated_sequences/NeuralTextures/c40/videos/033_097.mp4",
    )
    told(tmp_path / "splits/test.json", [["000", "003"]])
    clips = by_name(read_layout(tmp_path))
    assert (clips["000.mp4"].label_video, clips["000.mp4"].group, clips["000.mp4"].split) == ("real", "000", "test")
    assert (clips["000_003.mp4"].generator, clips["000_003.mp4"].family, clips["000_003.mp4"].group) == ("Deepfakes", "face swap", "000")
    assert (clips["033_097.mp4"].family, clips["033_097.mp4"].source) == ("re-animation by video", "c40")
    assert set(by_name(read_layout(tmp_path, split="test"))) == {"000.mp4", "000_003.mp4"}


def test_celeb_df(tmp_path: Path) -> None:
    put(tmp_path, "Celeb-real/id0_0000.mp4", "YouTube-real/00170.mp4", "Celeb-synthesis/id0_id1_0000.mp4")
    told(tmp_path / "List_of_testing_videos.txt", "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n")
    clips = by_name(read_layout(tmp_path))
    assert (clips["id0_0000.mp4"].label_video, clips["id0_0000.mp4"].split) == ("real", "train")
    assert (clips["id0_id1_0000.mp4"].label_video, clips["id0_id1_0000.mp4"].group) == ("fake", "id0")
    assert set(by_name(read_layout(tmp_path, split="test"))) == {"00170.mp4", "id0_id1_0000.mp4"}


def test_lav_df(tmp_path: Path) -> None:
    put(tmp_path, "test/000000.mp4", "train/000001.mp4")
    real = {"n_fakes": 0, "fake_periods": [], "original": None, "modify_video": False, "modify_audio": False}
    forged = {**real, "fake_periods": [[1.5, 2.25]], "original": "train/9.mp4", "modify_audio": True}
    told(
        tmp_path / "metadata.json",
        [
            {**real, "file": "test/000000.mp4", "split": "test"},
            {**forged, "file": "train/000001.mp4", "split": "train"},
        ],
    )
    clips = by_name(read_layout(tmp_path))
    assert (clips["000000.mp4"].label_audio, clips["000000.mp4"].segments) == ("real", ())
    assert clips["000001.mp4"].segments == (Span("audio", 1.5, 2.25),)
    assert (clips["000001.mp4"].label_video, clips["000001.mp4"].group) == ("real", "train/9.mp4")


def test_av_deepfake1m(tmp_path: Path) -> None:
    put(tmp_path, "val/id00012/x/00001/real.mp4", "val/id00012/x/00001/fake_video_fake_audio.mp4")
    rows: list[dict[str, Any]] = [
        {"file": "id00012/x/00001/real.mp4", "split": "val", "modify_type": "real", "fake_segments": []},
        {"file": "id00012/x/00001/fake_video_fake_audio.mp4", "split": "val", "modify_type": "both_modified", "audio_model": "vits",
         "audio_fake_segments": [[0.5, 1.0]], "visual_fake_segments": [[0.6, 1.1]]},
    ]  # fmt: skip
    told(tmp_path / "metadata/val_metadata.json", rows)
    clips = by_name(read_layout(tmp_path))
    assert clips["real.mp4"].label_video == "real"
    forged = clips["fake_video_fake_audio.mp4"]
    assert (forged.label_audio, forged.label_video, forged.group) == ("fake", "fake", "id00012")
    assert forged.segments == (Span("audio", 0.5, 1.0), Span("video", 0.6, 1.1))


def test_forgerynet(tmp_path: Path) -> None:
    forged = tmp_path / "Validation/video/val_video_release/4/7f/71/video.mp4"
    forged.parent.mkdir(parents=True)
    write_media(forged, Recipe(seconds=1.0, fps=20, audio_codec=None))
    put(tmp_path, "Validation/video/val_video_release/18/aa/video.mp4")
    told(
        tmp_path / "Validation/video_list.txt",
        "3 val_video_release/4/7f/71/video.mp4 0 10 0 10 35 1 45 30 0 1 2 4\n1 val_video_release/18/aa/video.mp4 0 75 0 0 0 18\n",
    )
    clips = {clip.label_video: clip for clip in read_layout(tmp_path)}
    assert clips["fake"].segments == (Span("video", 0.5, 2.25),)
    assert (clips["fake"].generator, clips["fake"].family, clips["fake"].split) == ("BlendFace", "identity kept", "validation")
    assert (clips["real"].generator, clips["real"].segments) == ("", ())


def test_asvspoof_2019_and_2021(tmp_path: Path) -> None:
    put(tmp_path, "LA/ASVspoof2019_LA_train/flac/LA_T_1.flac", "LA/ASVspoof2019_LA_train/flac/LA_T_2.flac")
    put(tmp_path, "ASVspoof2021_LA_eval/flac/LA_E_9.flac")
    protocols = tmp_path / "LA/ASVspoof2019_LA_cm_protocols"
    told(protocols / "ASVspoof2019.LA.cm.train.trn.txt", "LA_0079 LA_T_1 - - bonafide\nLA_0079 LA_T_2 - A01 spoof\n")
    told(tmp_path / "keys/LA/CM/trial_metadata.txt", "LA_0009 LA_E_9 alaw ita_tx A07 spoof notrim eval\n")
    clips = by_name(read_layout(tmp_path))
    assert [clips[f"{name}.flac"].label_audio for name in ("LA_T_1", "LA_T_2", "LA_E_9")] == ["real", "fake", "fake"]
    assert (clips["LA_T_2.flac"].generator, clips["LA_T_2.flac"].group, clips["LA_T_2.flac"].split) == ("A01", "LA_0079", "train")
    assert (clips["LA_E_9.flac"].generator, clips["LA_E_9.flac"].source, clips["LA_E_9.flac"].split) == ("A07", "alaw", "eval")
    assert clips["LA_E_9.flac"].label_video == ""


@pytest.mark.parametrize(
    ("files", "layout", "words"),
    [
        ({}, "auto", "looks like none of the known layouts"),
        ({"labels.csv": "name,what\na,b\n"}, "auto", "no column 'file'"),
        ({"labels.csv": "file,comment\na.mp4,b\n"}, "auto", "nothing to score"),
        ({"labels.csv": "file,label_video\na.mp4,real\n"}, "auto", "none of the 1 files"),
        ({"labels.csv": "file,label_video\n", "metadata.json": "{}"}, "auto", "could be table or dfdc"),
        ({"metadata.json": '[{"file": "a.mp4"'}, "lav-df", "is no JSON"),
        ({"metadata.json": "{}"}, "lav-df", "expected a list"),
        ({"metadata.json": '[{"file": "a.mp4"}]'}, "lav-df", "KeyError"),
        ({"meta_data.csv": "source\nid0,-\n"}, "fakeavceleb", "needs ten columns"),
        ({"video_list.txt": "2 a.mp4 1 1 1\n"}, "forgerynet", "cannot read"),
        ({"x.cm.train.trn.txt": "LA_0079 LA_T_1\n"}, "asvspoof", "countermeasure"),
        ({}, "celeb-df", "found no Celeb-real"),
        ({}, "nonsense", "unknown layout 'nonsense'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, files: dict[str, str], layout: str, words: str) -> None:
    for name, text in files.items():
        told(tmp_path / name, text)
    with pytest.raises(LayoutError) as caught:
        read_layout(tmp_path, layout)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)

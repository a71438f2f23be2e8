"""How public deepfake sets lie on disk, as their authors hand them out. Each reader turns one root folder into rows.

Labels are those of the authors; a label that a set does not give (DFDC says FAKE, not which modality) stays on the modality that the set
was made for.
"""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.data.layouts import MEDIA, Label, LabelledClip, Layout, LayoutError, Span
from export.data.pool import frame_rate_hz
from monitor.media import Modality

FORGERYNET_METHODS = (
    "genuine", "FaceShifter", "FS-GAN", "DeepFakes", "BlendFace", "MMReplacement", "DeepFakes-StarGAN-Stack", "Talking Head Video",
    "ATVG-Net", "StarGAN-BlendFace-Stack", "First Order Motion", "StyleGAN2", "MaskGAN", "StarGAN2", "SC-FEGAN", "DiscoFaceGAN",
)  # fmt: skip


def _label(forged: bool) -> Label:
    return "fake" if forged else "real"


def fakeavceleb(folder: Path) -> list[LabelledClip]:
    """FakeAVCeleb: meta_data.csv, whose last, nameless column is the folder of the file in `path`."""
    clips = []
    with _one(folder, "meta_data.csv", "**/meta_data.csv").open(newline="") as table:
        for cells in list(csv.reader(table))[1:]:
            if len(cells) < 10:
                raise LayoutError(f"{folder}: meta_data.csv needs ten columns (source … path, folder), this line has {len(cells)}: {cells}")
            source, method, kind, race, gender, name, where = cells[0], cells[3], cells[5], cells[6], cells[7], cells[8], cells[9]
            inside = Path(where).relative_to("FakeAVCeleb") if Path(where).parts[:1] == ("FakeAVCeleb",) else Path(where)
            base = folder / "FakeAVCeleb" if (folder / "FakeAVCeleb").is_dir() else folder
            clips.append(
                LabelledClip(
                    path=base / inside / name,
                    label_audio=_label("FakeAudio" in kind),
                    label_video=_label("FakeVideo" in kind),
                    generator="" if method == "real" else method,
                    family=kind,
                    group=source,
                    people=f"{race} {gender}",
                )
            )
    return clips


def cmdfd(folder: Path) -> list[LabelledClip]:
    """CMDFD: `origin` holds genuine talk, every other folder one generator's faces (DRIVEN-SPEAKER.mp4) over genuine voices."""
    clips = []
    for path in _media(folder, "*/*.mp4"):
        forged = path.parent.name != "origin"
        own_voice = path.stem.split("-")[0] == path.stem.rpartition("-")[2]
        clips.append(
            LabelledClip(
                path=path,
                label_audio="real",
                label_video=_label(forged),
                generator=path.parent.name.removesuffix("_Self") if forged else "",
                family="lip-sync, own voice" if forged and own_voice else "lip-sync" if forged else "",
                group=re.split(r"[-_]", path.stem)[0],
            )
        )
    return clips


def dfdc(folder: Path) -> list[LabelledClip]:
    """DFDC: a metadata.json beside the videos of every part. FAKE is counted as a forged face (voices were swapped in a few, unmarked)."""
    clips = []
    for table in _some(folder, "metadata.json", "**/metadata.json"):
        for name, facts in _json(table, dict).items():
            forged = facts["label"] == "FAKE" if "label" in facts else bool(facts.get("is_fake"))
            clips.append(
                LabelledClip(
                    path=table.parent / name,
                    label_video=_label(forged),
                    generator="DFDC" if forged else "",
                    family="face swap" if forged else "",
                    group=str(facts.get("original") or name),
                    split=str(facts.get("split", "")),
                )
            )
    return clips


def faceforensics(folder: Path) -> list[LabelledClip]:
    """FaceForensics++: {original,manipulated}_sequences/MAKER/COMPRESSION/videos/TARGET_SOURCE.mp4; train.json, val.json, test.json."""
    split_of: dict[str, str] = {}
    for split in ("train", "val", "test"):
        for table in [*folder.glob(f"{split}.json"), *folder.glob(f"splits/{split}.json")]:
            split_of |= {str(name): split for pair in _json(table, list) for name in pair}
    clips = []
    for path in _media(folder, "*_sequences/*/*/videos/*.mp4"):
        maker, target = path.parents[2].name, path.stem.split("_")[0]
        forged = path.parents[3].name == "manipulated_sequences"
        swap = maker in ("Deepfakes", "FaceSwap", "FaceShifter", "DeepFakeDetection")
        clips.append(
            LabelledClip(
                path=path,
                label_video=_label(forged),
                generator=maker if forged else "",
                family=("face swap" if swap else "re-animation by video") if forged else "",
                group=target,
                split=split_of.get(target, ""),
                source=path.parents[1].name,
            )
        )
    return clips


def celeb_df(folder: Path) -> list[LabelledClip]:
    """Celeb-DF (v2): Celeb-real, YouTube-real, Celeb-synthesis/idTARGET_idSOURCE_N.mp4; List_of_testing_videos.txt names the test split."""
    table = folder / "List_of_testing_videos.txt"
    testing = {line.split()[1] for line in table.read_text().splitlines() if len(line.split()) == 2} if table.is_file() else set()
    clips = []
    for kind in ("Celeb-real", "YouTube-real", "Celeb-synthesis"):
        for path in sorted((folder / kind).glob("*.mp4")):
            forged = kind == "Celeb-synthesis"
            clips.append(
                LabelledClip(
                    path=path,
                    label_video=_label(forged),
                    generator="Celeb-DF" if forged else "",
                    family="face swap" if forged else "",
                    group=path.stem.split("_")[0] if kind != "YouTube-real" else path.stem,
                    split="test" if f"{kind}/{path.name}" in testing else "train",
                    source=kind,
                )
            )
    return clips or _nothing(folder, "Celeb-real, YouTube-real or Celeb-synthesis")


def lav_df(folder: Path) -> list[LabelledClip]:
    """LAV-DF: metadata.json (or metadata.min.json), a list with modify_video, modify_audio and the forged seconds `fake_periods`."""
    clips = []
    for facts in _json(_one(folder, "metadata.json or metadata.min.json", "metadata.json", "metadata.min.json"), list):
        forged = {"audio": bool(facts["modify_audio"]), "video": bool(facts["modify_video"])}
        modalities: list[Modality] = [modality for modality in ("audio", "video") if forged[modality]]
        clips.append(
            LabelledClip(
                path=folder / facts["file"],
                label_audio=_label(forged["audio"]),
                label_video=_label(forged["video"]),
                segments=tuple(Span(modality, float(a), float(b)) for modality in modalities for a, b in facts.get("fake_periods", ())),
                generator="LAV-DF" if modalities else "",
                family=" and ".join(modalities),
                group=str(facts.get("original") or facts["file"]),
                split=str(facts.get("split", "")),
            )
        )
    return clips


def av_deepfake1m(folder: Path) -> list[LabelledClip]:
    """AV-Deepfake1M: {train,val}_metadata.json, at the root or in metadata/, with modify_type and {audio,visual}_fake_segments."""
    clips = []
    for table in _some(folder, "train_metadata.json or val_metadata.json", "*_metadata.json", "metadata/*_metadata.json"):
        for facts in _json(table, list):
            split = str(facts.get("split") or table.name.removesuffix("_metadata.json"))
            kind = str(facts["modify_type"])
            spans = [Span("audio", float(a), float(b)) for a, b in facts.get("audio_fake_segments", ())]
            spans += [Span("video", float(a), float(b)) for a, b in facts.get("visual_fake_segments", ())]
            clips.append(
                LabelledClip(
                    path=folder / split / facts["file"],
                    label_audio=_label(kind in ("audio_modified", "both_modified")),
                    label_video=_label(kind in ("visual_modified", "both_modified")),
                    segments=tuple(spans),
                    generator=str(facts.get("audio_model") or "AV-Deepfake1M") if kind != "real" else "",
                    family="" if kind == "real" else kind,
                    group=Path(facts["file"]).parts[0],
                    split=split,
                )
            )
    return clips


def forgerynet(folder: Path) -> list[LabelledClip]:
    """ForgeryNet videos: `N VIDEO [start count forged]*N binary triple method` a line in {Training,Validation}/video_list.txt; frames."""
    clips = []
    for table in _some(folder, "video_list.txt", "**/video_list.txt"):
        for line in table.read_text().splitlines():
            words = line.split()
            if not words:
                continue
            count = int(words[0]) if words[0].isdigit() else -1
            if len(words) != 2 + 3 * count + 3:
                raise LayoutError(f"{table}: cannot read {line[:80]!r}; expected N VIDEO (start count forged) × N binary triple method")
            path = next((p for p in (table.parent / "video" / words[1], table.parent / words[1]) if p.is_file()), table.parent / words[1])
            marks = [tuple(map(int, words[2 + 3 * k : 5 + 3 * k])) for k in range(count)]
            forged, method = words[-3] == "1", int(words[-1])
            rate = frame_rate_hz(path) if forged and path.is_file() else 25.0
            clips.append(
                LabelledClip(
                    path=path,
                    label_video=_label(forged),
                    segments=tuple(Span("video", start / rate, (start + frames) / rate) for start, frames, fake in marks if fake),
                    generator=FORGERYNET_METHODS[method] if forged and method < len(FORGERYNET_METHODS) else "",
                    family=("", "identity replaced", "identity kept")[int(words[-2])] if forged else "",
                    group=Path(words[1]).parts[-3] if len(Path(words[1]).parts) >= 3 else words[1],
                    split=table.parent.name.lower(),
                )
            )
    return clips


def asvspoof(folder: Path) -> list[LabelledClip]:
    """ASVspoof 2019 LA (cm protocols) and 2021 LA/DF (trial_metadata.txt): the voice only."""
    flac = {path.stem: path for path in folder.glob("**/flac/*.flac")}
    clips = []
    for table in _some(folder, "cm protocol or trial_metadata.txt", "**/*.cm.*.trn.txt", "**/*.cm.*.trl.txt", "**/CM/trial_metadata.txt"):
        newer = table.name == "trial_metadata.txt"
        for line in table.read_text().splitlines():
            words = line.split()
            if len(words) < (8 if newer else 5):
                raise LayoutError(f"{table}: cannot read {line[:80]!r}; is it a countermeasure (CM) protocol?")
            attack, label = words[4 if newer else 3], words[5 if newer else 4]
            clips.append(
                LabelledClip(
                    path=flac.get(words[1], table.parent / f"{words[1]}.flac"),
                    label_audio=_label(label == "spoof"),
                    generator=attack if label == "spoof" else "",
                    group=words[0],
                    split=words[7] if newer else table.name.split(".")[3],
                    source=words[2] if newer else "",
                )
            )
    return clips


LAYOUTS = {
    "fakeavceleb": Layout(("meta_data.csv", "*/meta_data.csv"), fakeavceleb),
    "cmdfd": Layout(("origin/id*.mp4",), cmdfd),
    "dfdc": Layout(("metadata.json", "dfdc_*/metadata.json"), dfdc, "{"),
    "faceforensics": Layout(("manipulated_sequences", "original_sequences"), faceforensics),
    "celeb-df": Layout(("Celeb-real", "Celeb-synthesis", "YouTube-real"), celeb_df),
    "lav-df": Layout(("metadata.min.json", "metadata.json"), lav_df, "["),
    "av-deepfake1m": Layout(("*_metadata.json", "metadata/*_metadata.json"), av_deepfake1m),
    "forgerynet": Layout(("video_list.txt", "*/video_list.txt"), forgerynet),
    "asvspoof": Layout(("**/*.cm.*.tr[nl].txt", "**/CM/trial_metadata.txt"), asvspoof),
}


def _media(folder: Path, pattern: str) -> Iterator[Path]:
    found = sorted(path for path in folder.glob(pattern) if path.suffix.lower() in MEDIA)
    yield from found or _nothing(folder, pattern)


def _some(folder: Path, what: str, *patterns: str) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)}) or _nothing(folder, what)


def _one(folder: Path, what: str, *patterns: str) -> Path:
    return next((path for pattern in patterns for path in sorted(folder.glob(pattern))), None) or _nothing(folder, what)


def _nothing(folder: Path, what: str) -> Any:
    raise LayoutError(f"{folder}: found no {what}; is this the set's root folder, and complete?")


def _json(path: Path, kind: type) -> Any:
    try:
        read = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise LayoutError(f"{path} is no JSON (line {error.lineno}: {error.msg}); was the download cut off?") from None
    if not isinstance(read, kind):
        raise LayoutError(f"{path}: expected a {kind.__name__} at the top, found a {type(read).__name__}; is it of another set?")
    return read

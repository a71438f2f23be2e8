"""The voice workshop's copies and splices are what their labels say, and the packed spectra are those of the sound."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("scipy", reason="scipy is not installed (pip install -e .[export])")

from export.data.pack_file import to_lips, to_opus  # noqa: E402
from export.data.pool import PoolError, SoundStore, pool_folder, read_table  # noqa: E402
from export.data.voice_batches import Data, Draw  # noqa: E402
from export.data.voice_pack import STEP, Distort, SpectrumPack, at_speed, frames_of, to_bytes  # noqa: E402
from export.data.voice_rows import VoiceRows  # noqa: E402
from export.data.voice_twins import find_twins, twin_sounds  # noqa: E402
from export.data.voice_workshop import copy_of, plan_copies, splice, write_copies  # noqa: E402
from export.data.voice_workshop_neural import NETS, copier  # noqa: E402
from export.data.voice_workshop_signal import KINDS, excitation, pitch_hz, stft  # noqa: E402
from export.data.voices import Sounds, Voices, split_voices  # noqa: E402
from export.nets.voice import VoiceNet  # noqa: E402
from export.pack import open_pack, write_pack  # noqa: E402
from export.report_voice_workshop import without_family  # noqa: E402
from export.train_voice import between, loss_of  # noqa: E402
from export.voice_material import talk_of, voices_of  # noqa: E402
from export.voice_measures import families  # noqa: E402
from monitor.errors import ConfigError  # noqa: E402
from monitor.speech.features import fixed_rms, log_spectrum  # noqa: E402


def speech(seconds: float = 1.5, pitch: float = 125.0) -> np.ndarray:
    """Harmonics under two formants, four syllables a second, a little noise; float32 at RMS 0.05."""
    time_s = np.arange(int(seconds * 16_000)) / 16_000
    gains = {k: np.exp(-(((k * pitch - 600) / 400) ** 2)) + 0.3 * np.exp(-(((k * pitch - 2400) / 700) ** 2)) for k in range(1, 50)}
    voice = sum(gain * np.sin(2 * np.pi * k * pitch * time_s) for k, gain in gains.items())
    voice = voice * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s)) + np.random.default_rng(0).normal(0, 0.02, len(time_s))
    return fixed_rms(voice.astype(np.float32))


@pytest.mark.parametrize("name", KINDS)
def test_a_copy_is_seeded_and_as_long_and_loud_as_its_original_but_another_sound(name: str):
    original = speech()
    once, again, other = (copy_of(original, KINDS[name], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert once.shape == original.shape
    assert once.dtype == np.float32
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    assert np.std(once) == pytest.approx(np.std(original), rel=0.05)
    assert np.abs(log_spectrum(once) - log_spectrum(original)).mean() > 0.05
    envelopes = [np.abs(sound).reshape(-1, 800).mean(1) for sound in (once, original)]
    assert np.corrcoef(envelopes)[0, 1] > 0.5, "the syllables must stay where they were"


@pytest.mark.parametrize("name", NETS)
def test_a_neural_vocoder_gives_back_the_length_even_untrained(name: str):
    torch.manual_seed(0)
    copy = copier(NETS[name]().eval())(speech()[:20_001], np.random.default_rng(0))
    assert copy.shape == (20_001,)
    assert np.isfinite(copy).all()


def test_the_pitch_is_found_and_pulses_have_it():
    found = pitch_hz(speech(pitch=160.0))
    assert np.median(found[found > 0]) == pytest.approx(160.0, rel=0.03)
    pulses = excitation(np.full(100, 200.0, np.float32), 160, 16_000, np.random.default_rng(0))
    peaks = np.abs(stft(pulses, 1024, 256)).mean(0)
    assert peaks[int(200 / 15.625) : int(200 / 15.625) + 3].max() > 3 * np.median(peaks[:40])


@pytest.mark.parametrize("seed", range(8))
def test_a_splice_changes_what_it_says_and_nothing_else(seed: int):
    genuine = speech(3.0)
    forged = copy_of(genuine, KINDS["source-filter"], np.random.default_rng(0))[: None if seed % 2 else 30_000]
    samples, start_s, end_s = splice(genuine, forged, np.random.default_rng(seed))
    start, end = round(start_s * 16_000), round(end_s * 16_000)
    changed = np.flatnonzero(samples != genuine)
    assert samples.shape == genuine.shape
    assert start <= changed[0] < start + 80
    assert end - 80 <= changed[-1] < end
    assert 0.6 <= end_s - start_s <= 0.7 * 3.0
    assert np.std(samples[start:end]) == pytest.approx(np.std(genuine[start:end]), rel=0.15)


def test_a_splice_needs_a_second():
    with pytest.raises(ValueError, match="1 s"):
        splice(speech(3.0), speech(0.5), np.random.default_rng(0))


def test_copies_are_planned_evenly_and_stored_as_planned(tmp_path: Path):
    rows = [{"file": f"{i}.ogg", "label": "real", "generator": "", "source": "page", "speaker": f"s{i}"} for i in range(40)]
    planned = plan_copies(rows, ["sampled", "images", "loose phase"], 1.5, 3)
    assert planned == plan_copies(rows, ["sampled", "images", "loose phase"], 1.5, 3)
    assert 45 < len(planned) < 75
    assert len({row["file"] for row in planned}) == len(planned)
    SoundStore.write(tmp_path / "plain.i16", ((row["file"], speech()) for row in rows[:3]))
    wanted = [row for row in planned if row["original"] in {"0.ogg", "1.ogg", "2.ogg"}]
    write_copies(
        tmp_path / "copies.i16", wanted, SoundStore(tmp_path / "plain.i16").get, {row["file"]: ("telephone", 64_000) for row in rows}, KINDS
    )
    stored = SoundStore(tmp_path / "copies.i16")
    assert all(len(stored.get(row["file"])) == len(speech()) for row in wanted)


@pytest.mark.pool
def test_copies_stay_in_the_fold_of_their_original():
    try:
        rows = read_table(pool_folder() / "data" / "voices")
    except PoolError as error:
        pytest.skip(str(error))
    train, held = split_voices(rows)
    copies = plan_copies([row for row in rows if row["label"] == "real"], list(KINDS), 1.5, 7)
    folds = [{row["file"] for row in fold} for fold in (train, held)]
    ours, theirs = ([row for row in copies if row["original"] in files] for files in folds)
    assert ours
    assert theirs
    for column in ("source", "speaker", "original"):
        assert not {row[column] for row in ours if row[column]} & {row[column] for row in theirs}
    assert {row["generator"] for row in rows if row["label"] == "fake"} == families().keys()


def test_a_family_can_be_left_out_and_an_unknown_one_is_told(tmp_path: Path):
    data = tiny_data(tmp_path)
    rows = [row | {"generator": "bigvgan"} if row["file"] == "fake0" else row for row in data.voices.train]
    twin = rows[2] | {"file": "twin~fake0", "original": "real0"}
    some = replace(data, voices=replace(data.voices, train=rows, held=rows[1:3]), copies=[*data.copies, twin])
    assert without_family(some, "") == some
    left = without_family(some, "vocoder copy")
    assert [row["file"] for row in left.voices.train] == ["real0", "real1", "fake1"]
    assert [row["file"] for row in left.voices.held] == ["real1"]
    assert left.copies == data.copies
    with pytest.raises(ConfigError, match="no family 'parrots'"):
        without_family(some, "parrots")


def sung(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Noise whose spectrum wanders, another one for each seed; float32 at RMS 0.05."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.normal(0, 1, (int(seconds * 10), 1600)))
    spectrum *= np.repeat(10 ** rng.normal(0, 0.5, (len(spectrum), 9)), 89, axis=1)
    return fixed_rms(np.fft.irfft(spectrum).ravel().astype(np.float32))


def test_a_twin_is_found_by_what_it_says_and_brought_into_step(tmp_path: Path):
    late, noise = np.concatenate([sung(9, 0.1), sung(1)])[:32_000], np.random.default_rng(0).normal(0, 0.01, 32_000)
    clips = {"a": sung(0), "b": sung(1), "copy of b": (late + noise).astype(np.float32), "stranger": sung(5)}
    rows = [
        {"file": name, "label": "real" if len(name) == 1 else "fake", "generator": "", "source": "page", "speaker": ""} for name in clips
    ]
    SoundStore.write(tmp_path / "clips.i16", clips.items())
    sounds = Sounds(SoundStore(tmp_path / "clips.i16"))
    voices = Voices(rows, [], sounds, sounds)
    twins = find_twins(voices)
    assert [(row["file"], row["original"], row["lag"]) for row in twins] == [("twin~copy of b", "b", "-10")]
    ((name, sound),) = twin_sounds(twins, voices, {"b": ("mp3", 64_000)})
    assert name == "twin~copy of b"
    assert np.corrcoef(sound[2000:28_000], clips["b"][2000:28_000])[0, 1] > 0.8


def test_voices_and_talk_come_out_of_the_pack_as_the_nets_want_them(tmp_path: Path):
    rows = [{"file": f"v{i}", "label": "real", "generator": "", "source": "page", "speaker": f"s{i}", "held_in": i - 1} for i in range(2)]
    talk = [
        {"folder": folder, "file": f"{folder}.mp4", "speaker": "p", "held_in": i - 1}
        for i, folder in enumerate(("talk", "avspeech", "wild"))
    ]
    sound, mouths = speech(1.2), np.zeros((30, 64, 64), np.uint8)
    spoken, seen = (to_opus(sound),), (to_lips(mouths), to_opus(sound))
    sections = {
        "faces": [],
        "voices": [(row | {"samples": len(sound)}, spoken) for row in rows],
        "lips": [(row | {"samples": len(sound)}, seen) for row in talk],
    }
    write_pack(tmp_path / "x.pack", sections, {})
    pack = open_pack(tmp_path / "x.pack")
    voices, heard = voices_of(pack, tmp_path), talk_of(pack, tmp_path)
    assert [[row["file"] for row in fold] for fold in (voices.train, voices.held)] == [["v0"], ["v1"]]
    assert [[row["file"] for row in fold] for fold in (heard.train, heard.held)] == [["talk/talk.mp4"], ["avspeech/avspeech.mp4"]]
    assert [row["label"] for row in heard.train + heard.held] == ["real", "real"]
    for owner, row in ((voices, voices.held[0]), (heard, heard.train[0])):
        for worn in (False, True):
            samples = owner.samples(row, worn=worn)
            assert len(samples) == len(sound)
            assert np.std(samples) == pytest.approx(np.std(sound), rel=0.2)


def test_a_faster_clip_is_shorter_and_higher():
    clip = np.zeros((200, 256), np.uint8)
    clip[:, 100] = 200
    clip[100:, 40] = 100
    fast, slow = at_speed(clip, 120, 0.0, 1.25), at_speed(clip, 120, 0.0, 0.8)
    assert [int(heard[10].argmax()) for heard in (fast, slow)] == [125, 80]
    assert fast[78, 50] == 0
    assert fast[81, 50] == 100
    assert slow[119, 32] == 0, "the second half of the clip has not come yet"
    assert not slow[:, 206:].any(), "what was above the highest bin is not known"
    assert np.array_equal(at_speed(clip, 120, 0.0, 1.0), frames_of(clip, 120, 0.0))


def test_packed_spectra_are_those_of_the_sound(tmp_path: Path):
    clips = {"a": log_spectrum(speech()), "b": log_spectrum(speech(1.0, 200.0))}
    SpectrumPack.write(tmp_path / "one.u8", [("a", clips["a"])])
    SpectrumPack.write(tmp_path / "two.u8", [("b", clips["b"])])
    pack = SpectrumPack([tmp_path / "one.u8", tmp_path / "two.u8"])
    for name, wanted in clips.items():
        assert pack.get(name).shape == wanted.shape
        untouched = Distort(np.random.default_rng(0), 5.0).through(
            pack.get(name), (np.ones(256, np.float32), np.zeros(256, np.float32), 1.0, 0)
        )
        audible = wanted > -8
        shift = np.median((untouched - wanted)[audible])  # a short clip's mean power is not that of endless noise
        assert np.abs(untouched - wanted - shift)[audible].max() <= STEP / 2 + 0.08
    assert "c" not in pack


def test_noise_and_filter_of_a_channel_are_heard_alike_by_both_clips():
    distort = Distort(np.random.default_rng(0), 10.0)
    flat = to_bytes(np.zeros((100, 256), np.float32))
    gain, noise = np.ones(256, np.float32), np.full(256, 0.01, np.float32)
    gain[128:] = 1e-4
    once, again = (distort.through(flat, (gain, noise, 1.0, 40)) for _ in range(2))
    assert np.array_equal(once, again)
    assert once[:, 128:].mean() < once[:, :128].mean() - 3
    louder = distort.through(flat, (gain, noise * 100, 1.0, 40))
    assert louder[:, 128:].mean() > once[:, 128:].mean() + 3


def test_a_short_clip_is_repeated_and_the_place_decides():
    clip = np.arange(10, dtype=np.uint8)[:, None].repeat(256, 1)
    assert frames_of(clip, 25, 0.0)[:, 0].tolist() == [*range(10), *range(10), *range(5)]
    assert frames_of(clip, 4, 1.0)[:, 0].tolist() == [6, 7, 8, 9]


def tiny_data(folder: Path) -> Data:
    """Two genuine clips, two generated ones, and one copy of each genuine clip that has exactly its original's spectra."""
    train = [
        {"file": f"{label}{i}", "label": label, "generator": "vocoder" * (label == "fake"), "source": "page", "speaker": f"{label}{i}"}
        for label in ("real", "fake")
        for i in range(2)
    ]
    copies = [row | {"file": f"sampled~{row['file']}", "label": "fake", "original": row["file"]} for row in train[:2]]
    rng = np.random.default_rng(0)
    spectra = {row["file"]: rng.normal(-4, 2, (300, 256)).astype(np.float32) for row in train}
    spectra |= {copy["file"]: spectra[copy["original"]] for copy in copies}
    SpectrumPack.write(folder / "all.u8", ((f"{v}:{file}", found) for file, found in spectra.items() for v in ("plain", "worn", "rough")))
    SoundStore.write(folder / "some.i16", [("some", speech())])
    unused = Sounds(SoundStore(folder / "some.i16"))
    pack = SpectrumPack([folder / "all.u8"])
    return Data(Voices(train, [], unused, unused), [], copies, pack, np.zeros((0, 240, 256), np.float32))


def test_a_copy_passes_the_same_channel_as_the_original_beside_it(tmp_path: Path):
    draw = Draw(tiny_data(tmp_path), np.random.default_rng(0))
    for _ in range(4):
        batch = draw.batch()
        originals, made = batch.spectrum[-2 * batch.pairs : -batch.pairs], batch.spectrum[-batch.pairs :]
        assert torch.equal(originals, made)
        assert not torch.equal(originals[0], originals[1])
        assert batch.label[-2 * batch.pairs :].tolist() == [0.0] * batch.pairs + [1.0] * batch.pairs
        share = batch.forged.mean(1)
        assert set(share[batch.label == 0].tolist()) == {0.0}
        assert ((share > 0.3) == (batch.label == 1)).all()
        assert ((share > 0) & (share < 1)).any(), "splices have a forged stretch and a genuine one"


def test_the_loss_wants_copies_above_originals_and_forged_steps_found(tmp_path: Path):
    batch = Draw(tiny_data(tmp_path), np.random.default_rng(0)).batch()
    steps = -(-batch.forged.shape[1] // 16)
    right, wrong = 4 * (2 * batch.label - 1), torch.zeros(len(batch.label))
    share = torch.nn.functional.interpolate(batch.forged[:, None], size=steps, mode="area")[:, 0]
    assert loss_of(right, 4 * (2 * share - 1), batch) < loss_of(wrong, 0 * share, batch) < loss_of(-right, 4 * (1 - 2 * share), batch)
    swapped = right.clone()
    swapped[-2 * batch.pairs :] = 0
    better, worse = swapped.clone(), swapped.clone()
    better[-batch.pairs :] += 0.5
    worse[-2 * batch.pairs : -batch.pairs] += 0.5
    assert loss_of(better, 0 * share, batch) < loss_of(worse, 0 * share, batch)


def test_without_copies_there_are_no_pairs(tmp_path: Path):
    batch = Draw(replace(tiny_data(tmp_path), copies=[]), np.random.default_rng(0)).batch()
    assert batch.pairs == 0
    assert len(batch.spectrum) == 16
    assert batch.forged.mean(1).tolist() == batch.label.tolist() == [1.0] * 8 + [0.0] * 8
    assert torch.isfinite(loss_of(torch.zeros(16), torch.zeros(16, 8), batch))


def test_rivals_of_one_source_are_asked_which_is_forged(tmp_path: Path):
    batch = Draw(replace(tiny_data(tmp_path), copies=[]), np.random.default_rng(0)).batch()
    assert batch.rivals.all(), "all clips are of one source"
    logit, local = torch.zeros(16), torch.zeros(16, 8)
    tied = loss_of(logit, local, batch)
    assert loss_of(logit, local, replace(batch, rivals=torch.zeros(8, dtype=torch.bool))) < tied
    strangers = [row | {"source": row["file"]} for row in tiny_data(tmp_path).voices.train]
    data = replace(tiny_data(tmp_path), copies=[])
    assert not Draw(replace(data, voices=replace(data.voices, train=strangers)), np.random.default_rng(0)).batch().rivals.any()


def test_talk_is_heard_alone_and_its_copies_beside_it(tmp_path: Path):
    data = tiny_data(tmp_path)
    real0, real1 = data.voices.train[:2]
    drawn = VoiceRows(data.voices.train, [real1], data.copies, np.random.default_rng(0))
    shares = dict(zip([row["original"] for row in data.copies], drawn.copy_share, strict=True))
    assert shares == pytest.approx({"real0": 0.4 / 0.65, "real1": 0.25 / 0.65})
    lonely = [row | {"source": "elsewhere"} for row in data.voices.train if row["label"] == "fake"]
    drawn = VoiceRows([real0, *lonely], [real1], [], np.random.default_rng(0))
    partners = [drawn.partner(lonely[0])["file"] for _ in range(400)]
    assert 0.18 < partners.count("real1") / 400 < 0.32


def test_the_exported_net_lies_between_the_two_stages():
    torch.manual_seed(0)
    before, after = VoiceNet(), VoiceNet()
    name = "head.1.weight"
    wanted = 0.75 * after.state_dict()[name] + 0.25 * before.state_dict()[name]
    assert torch.allclose(between(after, before, 0.25).state_dict()[name], wanted, atol=1e-6)
    assert torch.equal(between(after, before, 0.0).state_dict()[name], after.state_dict()[name])

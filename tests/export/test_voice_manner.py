"""The speech encoder survives its export, knows positions by distance alone, and the direction among its numbers is Fisher's."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

from export.data.pool import Row  # noqa: E402
from export.moonshine import RANKS, small_encoder  # noqa: E402
from export.nets.speech_encoder import LAYERS, PREFIX, WIDTH, SpeechEncoder, encoder_of, turned, turns  # noqa: E402
from export.nets.voice import VoiceNet  # noqa: E402
from export.nets.voice_judge import Manner, VoiceJudge  # noqa: E402
from export.small_weights import pack, rounded  # noqa: E402
from export.to_onnx import Port, export_model  # noqa: E402
from export.voice_manner import direction, less_of_pages, middle_of, numbers_of  # noqa: E402
from monitor.errors import ConfigError  # noqa: E402
from monitor.inference.card import Card, read_card  # noqa: E402
from tests.export.about import ABOUT  # noqa: E402

PORTS = [Port("log_spectrum", ("batch", "frames", 256), "anything"), Port("samples", ("batch", "160*frames"), "anything")]


def encoder() -> SpeechEncoder:
    made = torch.Generator().manual_seed(0)
    first, second = RANKS
    shapes = {
        "conv1": (WIDTH, 1, 127),
        "norm_weight": (WIDTH, 1),
        "norm_bias": (WIDTH, 1),
        "conv2": (first, WIDTH, 7),
        "conv2_bias": (first,),
        "conv2_back": (2 * WIDTH, first, 1),
        "conv2_back_bias": (2 * WIDTH,),
        "conv3": (second, 2 * WIDTH, 3),
        "conv3_bias": (second,),
        "conv3_back": (WIDTH, second, 1),
        "conv3_back_bias": (WIDTH,),
    }
    for layer in range(LAYERS):
        parts = {"norm1": (WIDTH,), "query_key_value": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH), "norm2": (WIDTH,)}
        parts |= {"up": (WIDTH, 4 * WIDTH), "up_bias": (4 * WIDTH,), "down": (4 * WIDTH, WIDTH), "down_bias": (WIDTH,)}
        shapes |= {f"layer{layer}_{part}": shape for part, shape in parts.items()}
    return SpeechEncoder(rounded({name: torch.randn(shape, generator=made) * 0.05 for name, shape in shapes.items()}))


def judge() -> VoiceJudge:
    torch.manual_seed(0)
    ones = torch.ones(2 * WIDTH)
    return VoiceJudge(VoiceNet(), encoder(), Manner(0 * ones, ones, 0.01 * ones, 0.5), 2.0).eval()


def exported(folder: Path, net: VoiceJudge) -> Card:
    outputs = [Port("logit", ("batch",), "anything"), Port("local_logits", ("batch", "frames/16"), "anything")]
    return export_model(net, "voice_forgery", PORTS, outputs, [inputs(1, 240), inputs(2, 96)], ABOUT, folder)


def inputs(batch: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(frames)
    return rng.normal(-5, 3, (batch, frames, 256)).astype(np.float32), rng.normal(0, 0.05, (batch, 160 * frames)).astype(np.float32)


def test_the_encoder_is_read_back_from_the_exported_file(tmp_path: Path) -> None:
    path, sound = tmp_path / "voice_forgery.onnx", torch.from_numpy(inputs(2, 120)[1])
    card = exported(tmp_path, judge())
    assert torch.equal(encoder_of(path)(sound), encoder()(sound))
    before = path.stat().st_size
    packed = pack(path, card, PREFIX, dict(zip(("log_spectrum", "samples"), inputs(2, 96), strict=True)))
    assert read_card(path) == packed
    assert path.stat().st_size < 0.4 * before
    assert torch.allclose(encoder_of(path)(sound), encoder()(sound), atol=1e-5)


def test_weights_that_were_not_rounded_are_not_packed(tmp_path: Path) -> None:
    net = judge()
    net.encoder.weights["layer0_up"].data[3, 5] *= 1.01
    card = exported(tmp_path, net)
    with pytest.raises(ValueError, match="were not rounded"):
        pack(tmp_path / "voice_forgery.onnx", card, PREFIX, dict(zip(("log_spectrum", "samples"), inputs(2, 96), strict=True)))


def test_a_file_without_an_encoder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pass --encoder"):
        encoder_of(tmp_path / "voice_forgery.onnx")
    with pytest.raises(ConfigError, match="is missing; unpack"):
        small_encoder(tmp_path / "encoder_model.ort", np.zeros((1, 19_200), np.float32))


def test_what_is_read_does_not_depend_on_loudness() -> None:
    sound = torch.from_numpy(inputs(1, 120)[1])
    flat = encoder()
    flat.weights["conv1"].data *= 1e-3  # far from where the hyperbolic tangent bends
    assert torch.allclose(flat(sound), flat(sound * 0.5), atol=2e-2)


def test_positions_count_by_their_distance_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    query, key = (torch.randn(1, 1, 1, WIDTH // 8, generator=generator).repeat(1, 1, 30, 1) for _ in range(2))
    cosine, sine = turns(30, query)
    fit = (turned(query, cosine, sine) @ turned(key, cosine, sine).transpose(2, 3))[0, 0]
    assert torch.allclose(fit[:-7, :-7], fit[7:, 7:], atol=1e-4)
    assert (fit[0, 1:] - fit[0, 0]).abs().max() > 0.1


def pool(clips: int = 1200) -> tuple[list[Row], np.ndarray]:
    """Rows and numbers [clips, 1, 1, 12] of ten pages: number 0 rises by 1.5 in fakes; number 1 is how a page sounds, high where more are
    forged.
    """
    rng = np.random.default_rng(2)
    rows, numbers = [], rng.normal(0, 1, (clips, 1, 1, 12)).astype(np.float32)
    for index in range(clips):
        page = index % 10
        fake = rng.random() < (0.8 if page < 5 else 0.2)
        rows.append({"file": str(index), "label": "fake" if fake else "real", "generator": f"g{page}" if fake else "", "source": str(page)})
        numbers[index, 0, 0, 0] += 1.5 * fake
        numbers[index, 0, 0, 1] += 4.0 * (page < 5)
    return rows, numbers


def test_the_direction_finds_what_forgeries_share_and_not_how_pages_sound() -> None:
    rows, numbers = pool()
    manner = direction(rows, numbers)
    found = manner(torch.from_numpy(numbers[:, 0, 0])).numpy()
    fake = np.array([row["label"] == "fake" for row in rows])
    assert found[~fake].mean() == pytest.approx(0, abs=1e-3)
    assert found[~fake].std() == pytest.approx(1, abs=1e-2)
    assert found[fake].mean() > 1
    weight = np.abs(manner.weight.detach().numpy())
    assert weight[0] > 5 * weight[1:].max()


def test_half_of_what_a_page_sounds_like_is_taken_from_its_clips() -> None:
    pages = ["loud"] * 6 + ["quiet"] * 6 + ["unknown"] * 4
    fake = np.array([page == "unknown" or index % 6 == 5 for index, page in enumerate(pages)])
    standard = np.array([{"loud": [2.0, 0.0], "quiet": [-2.0, 0.0], "unknown": [7.0, 1.0]}[page] for page in pages])[:, None]
    moved, across = less_of_pages(standard, pages, fake, np.where(fake, 1 / fake.sum(), 1 / (~fake).sum()))
    assert moved[:12, 0, 0].tolist() == pytest.approx([1.0] * 6 + [-1.0] * 6)
    assert np.array_equal(moved[12:], standard[12:]), "a page without genuine clips stays as it is"
    assert across is not None
    assert np.abs(across).tolist() == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("seconds", [0.5, 2.4, 4.0])
def test_the_middle_is_always_as_long(seconds: float) -> None:
    middle = middle_of(np.random.default_rng(0).normal(0, 0.2, int(16_000 * seconds)).astype(np.float32))
    assert middle.shape == (38_400,)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.05, rel=1e-3)


def test_a_clip_is_heard_in_both_halves_and_worn_and_kept_in_the_cache(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    sounds = {(name, worn): rng.normal(0, 0.1, 45_000).astype(np.float32) for name in "abc" for worn in (False, True)}
    voices, talk = (
        SimpleNamespace(train=[Row(file=name) for name in names], samples=lambda row, worn: sounds[row["file"], worn])
        for names in ("ab", "c")
    )
    net = encoder()
    found = numbers_of(net, SimpleNamespace(voices=voices, talk=talk, cache=tmp_path))  # type: ignore[arg-type]
    assert found.shape == (3, 3, 2 * WIDTH)
    for clip, name in enumerate("abc"):
        plain, worn = (middle_of(sounds[name, each]) for each in (False, True))
        for heard, piece in zip(found[clip], (plain[:19_200], plain[19_200:], worn[19_200:]), strict=True):
            with torch.no_grad():
                alone = net(torch.from_numpy(piece[None])).numpy()[0]
            assert heard == pytest.approx(alone, rel=2e-3, abs=2e-3)
    (kept,) = tmp_path.glob("*.npy")
    assert np.load(kept).shape == found.shape

# ruff: noqa: E501  a table reads best with one case on a line
"""Whatever is wrong with a configuration is said with its file, line, key and remedy."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from monitor import config_file
from monitor.config import SCHEMES, Config, Stream
from monitor.errors import ConfigError

ROOT = Path(__file__).parents[2]


def problems(path: Path | None, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        config_file.load(path, overrides)
    return str(error.value).splitlines()


def test_the_shipped_file_says_the_defaults() -> None:
    assert config_file.load(ROOT / "config.yaml") == Config()


def keys_of(section: type[BaseModel]) -> Iterator[str]:
    for name, key in section.model_fields.items():
        yield name
        if isinstance(key.annotation, type) and issubclass(key.annotation, BaseModel):
            yield from keys_of(key.annotation)


@pytest.mark.parametrize("key", sorted({*keys_of(Config), *keys_of(Stream)}))
def test_the_shipped_file_explains_every_key(key: str) -> None:
    lines = [line for line in (ROOT / "config.yaml").read_text().splitlines() if line.lstrip("# -").startswith(f"{key}:")]
    assert lines, f"{key} is not in config.yaml"
    section = key in Config.model_fields
    assert section or all("# " in line.split(f"{key}:")[1] for line in lines), f"{key} has no comment in config.yaml"


BAD = [
    ("server:\n  prot: 1\n", 'FILE:2: server.prot: unknown key; did you mean "port"?'),
    (
        "sever: {}\n",
        'FILE:1: sever: unknown key; did you mean "server"?',
    ),
    ("server:\n  xyzzy: 1\n", "FILE:2: server.xyzzy: unknown key; known here: host, port, token, token_file, max_sessions, max_sdp_bytes, allowed_origins, ice_servers"),
    ("server:\n  port: eighty\n", "FILE:2: server.port: must be a whole number, not 'eighty'"),
    ("server:\n  port: 70000\n", "FILE:2: server.port: must be at most 65535, not 70000"),
    ("server: 5\n", "FILE:1: server: must be a section of key: value lines, not 5"),
    ("server:\n  host: 0.0.0.0\n", "FILE:2: server.host: 0.0.0.0 is open to other machines but no token is set; set server.token_file, or use 127.0.0.1"),
    ("server: {token: a, token_file: b}\n", "FILE:1: server.token_file: token and token_file are both set; keep one of them"),
    ("server:\n  token_file: nope\n", "FILE:2: server.token_file: nope cannot be read (No such file or directory); give a readable text file that holds only the secret"),
    ("server:\n  token: 5\n", "FILE:2: server.token: must be text"),
    ("streams: {}\n", "FILE:1: streams: must be a list (lines that start with '- '), not a section"),
    ("streams:\n  - id: a\n    url: x.mp4\n  - id: a\n    url: y.mp4\n", 'FILE:4: streams.1.id: "a" is already the id of streams.0; give every stream its own'),
    ("streams:\n  - url: x.mp4\n", "FILE:2: streams.0.id: is missing; add it"),
    ("streams:\n  - id: a/b\n    url: x.mp4\n", "FILE:2: streams.0.id: may hold letters, digits, '.', '_' and '-', at most 64, and starts with a letter or digit, not 'a/b'"),
    ("streams:\n  - id: a\n", "FILE:2: streams.0.url: give one of url, url_file and sdp: an address, the path of a media file or folder, or an SDP"),
    ("streams:\n  - id: a\n    url: rtmp://u:secret@h/\n", "FILE:3: streams.0.url: rtmp:// is not supported; use KNOWN or the path of a media file"),
    ("streams:\n  - id: a\n    url: file:///etc/passwd\n", "FILE:3: streams.0.url: file:// is not supported; use KNOWN or the path of a media file"),
    ("ingest:\n  allow_hosts: [cam.lan, 10.0.0.300]\n", "FILE:2: ingest.allow_hosts: '10.0.0.300' is no host name, address or network; write cam.lan, 192.0.2.7 or 192.0.2.0/24"),
    ("ingest:\n  allow_hosts: [10.0.0.7/8]\n", "FILE:2: ingest.allow_hosts: '10.0.0.7/8' is no host name, address or network; write cam.lan, 192.0.2.7 or 192.0.2.0/24"),
    ("ingest:\n  file_root: nope\n", "FILE:2: ingest.file_root: nope is not a folder; give the folder that holds the files, or null for anywhere"),
    ("ingest:\n  stall_s: 12\n", "FILE:2: ingest.stall_s: 12 is not below read_timeout_s (10); make it smaller"),
    ("streams:\n  - id: a\n    url: 'rtsp://:80/x'\n", "FILE:3: streams.0.url: has no usable host; write rtsp://host:port/path"),
    ("streams:\n  - id: a\n    url: x.mp4\n    transport: sctp\n", "FILE:4: streams.0.transport: must be one of 'tcp' or 'udp', not 'sctp'"),
    ("models:\n  dir: nope\n", "FILE:2: models.dir: nope is not a folder; give the folder of the .onnx files, or null for the built-in models"),
    ("alerts:\n  audio:\n    threshold: 1.5\n", "FILE:3: alerts.audio.threshold: must be below 1, not 1.5"),
    ("reconnect:\n  max_s: 0.1\n", "FILE:2: reconnect.max_s: 0.1 is below initial_s (1); make it at least as large"),
    ("log:\n  incidents_path: ${DEEPFAKE_NO_SUCH}\n", "FILE:2: log.incidents_path: the environment variable DEEPFAKE_NO_SUCH is not set; set it, or write ${DEEPFAKE_NO_SUCH:-default}"),
    ("server:\n  port: 1\n  port: 2\n", "FILE:3: server.port: is given twice; keep one of them"),
    ("server:\n\tport: 1\n", "FILE:2: is not valid YAML: found character '\\t' that cannot start any token; check indentation, colons and quotes"),
    ("- a\n", "FILE:1: must be sections of key: value lines, such as 'server:'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD, ids=[text.strip().replace("\n", " ") for text, _ in BAD])
def test_says_what_is_wrong_where(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert problems(path) == [said.replace("FILE", str(path)).replace("KNOWN", ", ".join(f"{scheme}://" for scheme in SCHEMES))]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "::ffff:127.0.0.1", "monitor.example.com", "127.1", "2130706433", ""])
def test_no_address_but_loopback_is_served_without_a_token(host: str) -> None:
    (said,) = problems(None, f"server.host='{host}'")
    assert "is open to other machines but no token is set" in said
    assert config_file.load(None, [f"server.host='{host}'", "server.token=sesame"]).server.bearer == "sesame"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert config_file.load(None, [f"server.host='{host}'"]).server.bearer is None


def test_names_all_problems_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("reconnect:\n  max: 3\nserver:\n  port: x\n  hots: y\n")
    assert [line.split(": ")[1] for line in problems(path)] == ["reconnect.max", "server.port", "server.hots"]


def test_a_file_that_is_not_there() -> None:
    assert problems(Path("no-such.yaml")) == [
        "no-such.yaml: cannot be read (No such file or directory); give the path of a configuration file"
    ]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("server.prot=1", '--set: server.prot: unknown key; did you mean "port"?'),
        ("server.port", "--set: server.port: must be key.path=value, for instance --set server.port=8090"),
        ("streams.3.id=a", "--set: streams.3.id: there is no such place in the configuration; check the key"),
        ("models.provider=gpu", "--set: models.provider: must be one of 'cpu', 'cuda' or 'tensorrt', not 'gpu'"),
    ],
)
def test_overrides_are_checked_too(override: str, said: str) -> None:
    assert problems(None, override) == [said]


def test_overrides_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA", "rtsp://h/x # not a comment\nserver: {}")
    path = tmp_path / "c.yaml"
    path.write_text("server:\n  port: ${NO_SUCH_PORT:-9000}\nstreams:\n  - id: a\n    url: ${CAMERA}\nlog: {incidents_path: 'a$${b}'}\n")
    config = config_file.load(path, ["alerts.video.hold_s=9", "streams.1.id=b", "streams[1].url=call.mp4"])
    assert config.server.port == 9000
    assert config.alerts.video.hold_s == 9.0
    assert config.log.incidents_path == "a${b}"
    assert config.streams[0].address.startswith("rtsp://h/x # not")
    assert config.streams[1].address == str(tmp_path / "call.mp4")
    assert config.streams[1].is_file


def test_secrets_come_from_files_and_stay_out_of_sight(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open sesame\n")
    (tmp_path / "password").write_text("p@ss/word\n")
    path = tmp_path / "c.yaml"
    path.write_text(
        "server: {host: 0.0.0.0, token_file: token}\n"
        "streams:\n  - {id: a, url: 'rtsp://viewer@cam/x', password_file: password}\n  - {id: b, url: 'rtsp://u:hidden@cam/y'}\n"
    )
    config = config_file.load(path)
    assert config.server.bearer == "open sesame"
    assert config.streams[0].address == "rtsp://viewer:p%40ss%2Fword@cam/x"
    assert not [secret for secret in ("sesame", "p@ss", "hidden") if secret in repr(config)]

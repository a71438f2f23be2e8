# ruff: noqa: E501  a table reads best with one case on a line
"""Server-side request forgery: a corpus of addresses that lead inside by every known trick, and those that must pass."""

from collections.abc import Sequence

import pytest

from monitor.errors import SourceError
from monitor.sources.address import LookUp, pin

NAMES = {
    "cam.example.com": ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
    "cam.lan": ["192.168.7.4"],
    "localhost": ["127.0.0.1", "::1"],
    "inside.example.com": ["10.0.0.5"],
    "mixed.example.com": ["93.184.215.14", "192.168.7.4"],
    "metadata.example.com": ["169.254.169.254"],
    "mapped.example.com": ["::ffff:10.0.0.5"],
    "127.0.0.1.nip.example.com": ["127.0.0.1"],
    "xn--bcher-kva.example.com": ["93.184.215.14"],
    "scoped.example.com": ["fe80::1%eth0"],
}


def find(host: str, port: int) -> Sequence[str]:
    if host.lower() not in NAMES:
        raise OSError("unknown name")
    return NAMES[host.lower()]


FORGED = [
    # loopback, private, link-local and other special ranges, plainly
    "rtsp://127.0.0.1/", "rtsp://127.8.9.1:8554/a", "rtsp://10.0.0.1/", "rtsp://172.31.255.1/", "rtsp://192.168.1.1/", "rtsp://169.254.169.254/latest/meta-data",
    "rtsp://0.0.0.0/", "rtsp://100.64.0.1/", "rtsp://224.0.0.251/", "rtsp://239.1.2.3/", "rtsp://240.0.0.1/", "rtsp://255.255.255.255/", "rtsp://192.0.2.1/",
    "rtsp://198.18.0.1/", "rtsp://192.88.99.1/",
    # the same in IPv6, and IPv4 inside IPv6
    "rtsp://[::1]/", "rtsp://[::]/", "rtsp://[fe80::1]/", "rtsp://[fe80::1%25eth0]/", "rtsp://[fe80::1%eth0]/", "rtsp://[fc00::1]/", "rtsp://[fd12:3456::1]/", "rtsp://[fec0::1]/",
    "rtsp://[ff02::1]/", "rtsp://[2001:db8::1]/", "rtsp://[::ffff:127.0.0.1]/", "rtsp://[::ffff:7f00:1]/", "rtsp://[::ffff:a9fe:a9fe]/", "rtsp://[::127.0.0.1]/",
    "rtsp://[::ffff:0:127.0.0.1]/", "rtsp://[64:ff9b::127.0.0.1]/", "rtsp://[64:ff9b::a9fe:a9fe]/", "rtsp://[64:ff9b:1::a00:1]/", "rtsp://[2002:7f00:1::]/", "rtsp://[2002:c0a8:101::1]/",
    "rtsp://[2001:0:7f00:1::]/", "rtsp://[0:0:0:0:0:ffff:10.0.0.1]/", "rtsp://[::1", "rtsp://::1/", "rtsp://[v1.127]/",
    # decimal, octal, hexadecimal, short and over-long
    "rtsp://2130706433/", "rtsp://017700000001/", "rtsp://0x7f000001/", "rtsp://0x7f.0x0.0x0.0x1/", "rtsp://0177.0.0.1/", "rtsp://127.1/", "rtsp://127.0.1/", "rtsp://0/", "rtsp://0x/",
    "rtsp://127.0.0.01/", "rtsp://127.0.0.1.0/", "rtsp://256.256.256.256/", "rtsp://4294967297/", "rtsp://00000127.0.0.1/",
    # dots, other alphabets, percent signs
    "rtsp://127.0.0.1./", "rtsp://127.0.0.1../", "rtsp://localhost./", "rtsp://.localhost/", "rtsp://１２７.0.0.1/", "rtsp://①②⑦.0.0.1/", "rtsp://127。0。0。1/", "rtsp://ⓛocalhost/", "rtsp://127%2e0%2e0%2e1/",
    "rtsp://%31%32%37.0.0.1/", "rtsp://local%68ost/", "rtsp://bücher.example.com/", "rtsp://cam.example.com%00.127.0.0.1/", "rtsp://loc\u00adalhost/",
    # who is user, who is host
    "rtsp://cam.example.com@127.0.0.1/", "rtsp://cam.example.com:554@169.254.169.254/", "rtsp://127.0.0.1@cam.example.com@10.0.0.1/", "rtsp://user:p@ss@cam.example.com/", "rtsp://127.0.0.1#@cam.example.com/",
    "rtsp://127.0.0.1\\@cam.example.com/", "rtsp://cam.example.com\\@127.0.0.1/", "rtsp://127.0.0.1?@cam.example.com/", "rtsp://cam.example.com/a#b", "rtsp:///127.0.0.1/", "rtsp://:554/", "rtsp://@/", "rtsp://",
    # blanks, line ends, ports
    "rtsp://127.0.0.1 .cam.example.com/", "rtsp://cam.example.com\r\nHost: 127.0.0.1/", "rtsp://cam.example.com/a\nb", "rtsp://cam.example.com\t/", "\trtsp://cam.example.com/", " rtsp://127.0.0.1/",
    "rtsp://cam.example.com:0/", "rtsp://cam.example.com:99999/", "rtsp://cam.example.com:80:554/", "rtsp://cam.example.com:-1/", "rtsp://cam.example.com:５５４/", "rtsp://cam.example.com/" + "a" * 4000,
    # names that lead inside
    "rtsp://localhost/", "rtsp://LOCALHOST/", "rtsp://inside.example.com/", "rtsp://mixed.example.com/", "rtsp://metadata.example.com/", "rtsp://mapped.example.com/", "rtsp://127.0.0.1.nip.example.com/", "rtsp://cam.lan/",
    "rtsp://scoped.example.com/", "rtsp://-cam.example.com/", "rtsp://cam..example.com/",
    # other and nested protocols
    "http://cam.example.com/", "file:///etc/passwd", "concat:rtsp://cam.example.com/a|rtsp://127.0.0.1/b", "crypto:rtsp://cam.example.com/", "crypto+rtsp://cam.example.com/", "subfile,,start,0,end,0,,:rtsp://127.0.0.1/",
    "hls+http://cam.example.com/a.m3u8", "tee:rtsp://cam.example.com/", "udp://239.0.0.1:5000", "tcp://127.0.0.1:22", "gopher://127.0.0.1:6379/_", "data:text/plain,a", "async:cache:rtsp://127.0.0.1/", "//cam.example.com/", "",
]  # fmt: skip


@pytest.mark.parametrize("url", FORGED)
def test_refused_with_one_clear_line(url: str) -> None:
    with pytest.raises(SourceError) as refused:
        pin(url, ("rtsp", "rtsps"), (), find)
    said = str(refused.value)
    assert not refused.value.retryable
    assert said.isprintable()
    assert "; " in said, "says what to do"
    assert len(said) < 200


PLAIN = [
    ("rtsp://cam.example.com/", (), "93.184.215.14", 554, "/"),
    ("rtsp://CAM.example.com./a?b=c&d=e", (), "93.184.215.14", 554, "/a?b=c&d=e"),
    ("RTSP://8.8.8.8:8554/a", (), "8.8.8.8", 8554, "/a"),
    ("rtsps://viewer:p%40ss@cam.example.com", (), "93.184.215.14", 322, "/"),
    ("rtsp://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:554/a", (), "2606:2800:21f:cb07:6820:80da:af6b:8b2c", 554, "/a"),
    ("rtsp://[64:ff9b::8.8.8.8]/", (), "64:ff9b::808:808", 554, "/"),
    ("rtsp://[::ffff:8.8.8.8]/", (), "8.8.8.8", 554, "/"),
    ("rtsp://xn--bcher-kva.example.com/%20a", (), "93.184.215.14", 554, "/%20a"),
    ("rtsp://cam.lan/", ("cam.lan",), "192.168.7.4", 554, "/"),
    ("rtsp://CAM.LAN/", ("Cam.lan",), "192.168.7.4", 554, "/"),
    ("rtsp://cam.lan/", ("192.168.7.0/24",), "192.168.7.4", 554, "/"),
    ("rtsp://192.168.7.4/", ("192.168.7.4",), "192.168.7.4", 554, "/"),
    ("rtsp://127.0.0.1:8554/", ("localhost",), "127.0.0.1", 8554, "/"),
    ("rtsp://localhost/", ("localhost",), "127.0.0.1", 554, "/"),
    ("rtsp://[fd12::7]/", ("fd12::/16",), "fd12::7", 554, "/"),
    ("rtsp://169.254.7.7/", ("169.254.7.7",), "169.254.7.7", 554, "/"),
    ("rtsp://[::ffff:10.0.0.5]/", ("10.0.0.0/8",), "10.0.0.5", 554, "/"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "allowed", "address", "port", "target"), PLAIN)
def test_what_must_pass(url: str, allowed: tuple[str, ...], address: str, port: int, target: str) -> None:
    pinned = pin(url, ("rtsp", "rtsps"), allowed, find)
    assert (pinned.addresses[0], pinned.port, pinned.target) == (address, port, target)


def test_a_name_on_the_list_opens_the_site_but_not_this_machine_or_its_cloud() -> None:
    for name in ("metadata.example.com", "127.0.0.1.nip.example.com", "scoped.example.com"):
        with pytest.raises(SourceError, match=r"ingest\.allow_hosts"):
            pin(f"rtsp://{name}/", ("rtsp",), (name,), find)
    assert pin("rtsp://inside.example.com/", ("rtsp",), ("inside.example.com",), find).addresses == ("10.0.0.5",)
    with pytest.raises(SourceError, match="private"):
        pin("rtsp://10.0.0.5/", ("rtsp",), ("inside.example.com",), find)


def test_the_remedy_that_is_named_works() -> None:
    for url in (
        "rtsp://cam.lan/",
        "rtsp://192.168.7.4/",
        "rtsp://[::1]/",
        "rtsp://169.254.169.254/",
        "rtsp://metadata.example.com/",
        "rtsp://mapped.example.com/",
    ):
        with pytest.raises(SourceError) as refused:
            pin(url, ("rtsp",), (), find)
        remedy = str(refused.value).split(" add ")[1].split(" to ")[0]
        assert pin(url, ("rtsp",), (remedy,), find)


def changing(*answers: Sequence[str]) -> tuple[LookUp, list[str]]:
    """A resolver whose answer changes with every question, and the questions it was asked."""
    asked: list[str] = []

    def find(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return find, asked


def test_rebinding_after_the_check_changes_nothing() -> None:
    find, asked = changing(["93.184.215.14"], ["127.0.0.1"])
    assert pin("rtsp://cam.example.com/", ("rtsp",), (), find).addresses == ("93.184.215.14",)
    assert asked == ["cam.example.com"]
    with pytest.raises(SourceError, match=r"leads to 127\.0\.0\.1, a loopback address"):
        pin("rtsp://cam.example.com/", ("rtsp",), (), find)


def test_an_unknown_name_may_be_known_later() -> None:
    with pytest.raises(SourceError, match="cannot be looked up") as refused:
        pin("rtsp://u:secret@nowhere.example.com/", ("rtsp",), (), find)
    assert refused.value.retryable
    assert "secret" not in str(refused.value)


def test_credentials_are_kept_apart() -> None:
    pinned = pin("rtsp://viewer:p%40ss@cam.example.com/", ("rtsp",), (), find)
    assert (pinned.user, pinned.password) == ("viewer", "p@ss")
    assert "p@ss" not in repr(pinned)

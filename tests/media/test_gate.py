"""Hostile RTSP servers: whatever they answer, FFmpeg reaches no address but the pinned one."""

import asyncio
import contextlib
import datetime
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitor.channel import Channel
from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.sources.address import Pinned
from monitor.sources.gate import Answers, gate_to
from monitor.sources.limits import SPAN_S
from monitor.sources.rtsp import RtspSource

INGEST = Ingest(allow_hosts=("localhost",), open_timeout_s=3, read_timeout_s=3, max_sdp_bytes=2000, max_tracks=2)
SDP = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\na=control:track1\r\n"


def answer(status: str = "200 OK", body: str = "", **fields: str) -> bytes:
    if body:
        fields |= {"Content-Length": str(len(body))}
    lines = [f"RTSP/1.0 {status}", "CSeq: 1", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def passed(data: bytes, step: int = 1 << 20) -> bytes:
    answers = Answers("cam", "192.0.2.7", INGEST)
    return b"".join(answers.passed(data[start : start + step]) for start in range(0, len(data), step))


FRAME = b"$\x00\x00\x05\r\n\r\n$"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_what_is_plain_passes_unchanged_however_it_is_cut(step: int) -> None:
    request = b"OPTIONS rtsp://192.0.2.7/a RTSP/1.0\r\nCSeq: 9\r\n\r\n"
    plain = answer(Public="DESCRIBE, SETUP") + answer("401 Unauthorized") + answer(body=SDP) + FRAME * 3 + request + FRAME + answer()
    assert passed(plain, step) == plain


def test_media_over_udp_comes_from_the_pinned_address_only() -> None:
    reply = answer(Transport="RTP/AVP;unicast;Source =10.0.0.1;destination=10.0.0.2;server_port=5000-5001,RTP/AVP;source=10.0.0.3")
    assert b"\r\nTransport: RTP/AVP;unicast;server_port=5000-5001;source=192.0.2.7\r\n" in passed(reply)


REFUSED = {
    "a redirect": (answer("302 Found", Location="rtsp://10.0.0.1/"), "redirects"),
    "a redirect with a made-up status": (answer("399 Whatever", Location="rtsp://10.0.0.1/"), "redirects"),
    "a redirect after media": (FRAME + answer("301 Moved"), "redirects"),
    "a redirect behind bare line feeds": (
        b"RTSP/1.0 200 OK\nCSeq: 1\n\nRTSP/1.0 302 Found\nLocation: rtsp://10.0.0.1/\n\n\r\n\r\n",
        "not RTSP",
    ),
    "a redirect behind a bare carriage return": (b"RTSP/1.0 200 OK\r\nA: b\r\rRTSP/1.0 302 Found\r\n\r\n", "not RTSP"),
    "a redirect behind a second length": (
        answer("200 OK", Content_Length="0", content_length="60") + answer("302 Found", Location="rtsp://10.0.0.1/"),
        "not RTSP",
    ),
    "a length that is no number": (answer("200 OK", Content_Length="0x10"), "not RTSP"),
    "a length below zero": (answer("200 OK", Content_Length="-1"), "not RTSP"),
    "a frame inside a head": (b"RTSP/1.0 200 OK\r\n$\x00\x00\x02ab\r\n\r\n", "not RTSP"),
    "a folded line": (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n Location: x\r\n\r\n", "not RTSP"),
    "another version": (b"RTSP/2.0 302 Found\r\n\r\n", "not RTSP"),
    "two blanks before the status": (b"RTSP/1.0  302 Found\r\n\r\n", "not RTSP"),
    "the server's own REDIRECT": (b"REDIRECT rtsp://192.0.2.7/ RTSP/1.0\r\nLocation: rtsp://10.0.0.1/\r\n\r\n", "not RTSP"),
    "a web server": (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\n\r\n", "not RTSP"),
    "an endless head": (b"RTSP/1.0 200 OK\r\n" + b"A: b\r\n" * 2000, "not RTSP"),
    "a large SDP": (answer(body=SDP + "a=x\r\n" * 500), "max_sdp_bytes"),
    "many tracks": (answer(body=SDP + "m=audio 0 RTP/AVP 0\r\n" * 2), "max_tracks"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("step", [1, 1000])
def test_refused(case: str, step: int) -> None:
    data, said = REFUSED[case]
    with pytest.raises(SourceError, match=said) as refused:
        passed(data, step)
    assert refused.value.retryable is (said == "not RTSP")


Reply = Callable[[str], bytes]
"""Request head → the whole answer."""


@contextlib.asynccontextmanager
async def serving(reply: Reply, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """A server of a few lines: its port, and the requests it got."""
    requests: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(reply(requests[-1]).replace(b"CSeq: 1", b"CSeq: " + requests[-1].split("CSeq: ")[1].split("\r")[0].encode()))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], requests
    await asyncio.sleep(0.05)  # for the connections' own tasks to see the end


async def trouble_of(source: RtspSource) -> SourceError:
    with pytest.raises(SourceError) as caught:
        async with asyncio.timeout(20):
            await source.run(Channel(64, "drop_oldest"))
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE", "SETUP"])
async def test_a_redirect_is_followed_at_no_step_and_after_no_login(method: str) -> None:
    async with serving(lambda request: b"") as (inside, visits):

        def reply(request: str) -> bytes:
            if request.startswith(method):
                if "Authorization" not in request:
                    return answer("401 Unauthorized", WWW_Authenticate='Basic realm="a"')
                return answer("302 Found", Location=f"rtsp://127.0.0.1:{inside}/a")
            return answer(body=SDP, Content_Type="application/sdp") if request.startswith("DESCRIBE") else answer()

        async with serving(reply) as (port, requests):
            trouble = await trouble_of(RtspSource(f"rtsp://viewer:s3cret@127.0.0.1:{port}/a", INGEST))
    assert "redirects to another address" in str(trouble)
    assert "s3cret" not in str(trouble)
    assert not trouble.retryable
    assert any("Authorization" in request for request in requests)
    assert not visits


async def test_a_reader_who_stops_stops_the_server_and_a_second_visitor_is_turned_away() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"$\x00\x80\x00" + bytes(0x8000))
                await writer.drain()
                sent += 0x8004
        writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    async with server:
        pinned = Pinned("rtsp", "cam", server.sockets[0].getsockname()[1], ("127.0.0.1",), "/a", "us er", "p@ss")
        async with gate_to(pinned, "cam", INGEST, None) as gate:
            assert gate.url.startswith("rtsp://us%20er:p%40ss@127.0.0.1:")
            port = int(gate.url.rpartition(":")[2].removesuffix("/a"))
            await asyncio.sleep(0.2)
            before_anybody_came = sent
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
            with contextlib.suppress(OSError):  # closed or reset, as it comes
                second, late = await asyncio.open_connection("127.0.0.1", port)
                assert await second.read() == b""
                late.close()
            assert len(await reader.readexactly(1 << 24)) == 1 << 24
            await asyncio.sleep(0.5)
            stopped_at = sent
            await asyncio.sleep(0.5)
            assert sent == stopped_at
            assert before_anybody_came < 1 << 24 < sent < 1 << 26
            writer.close()
        assert gate.trouble is None
    await asyncio.sleep(0.05)


async def test_a_server_that_sends_too_much_is_cut_off_before_ffmpeg() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for _ in range(100):
                writer.write(FRAME * 1000)
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()

    ingest = Ingest(allow_hosts=("localhost",), max_kbps=100)
    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        pinned = Pinned("rtsp", "cam", server.sockets[0].getsockname()[1], ("127.0.0.1",), "/a")
        async with asyncio.timeout(10), gate_to(pinned, "cam", ingest, None) as gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(gate.url.rpartition(":")[2].removesuffix("/a")))
            assert len(await reader.read()) <= 100_000 * SPAN_S / 8
            writer.close()
    assert str(gate.trouble).startswith("cam: sends more than ingest.max_kbps (100)")
    await asyncio.sleep(0.05)


async def test_a_server_that_falls_silent_within_a_packet_is_called_silent() -> None:
    """FFmpeg, interrupted there, reports an input/output error as if the connection had broken off."""
    packets = [b"\x80\x00" + struct.pack("!HII", n, 160 * n, 1) + b"\xff" * 160 for n in range(100)]
    media = b"".join(b"$\x00" + struct.pack("!H", len(packet)) + packet for packet in packets)

    def reply(request: str) -> bytes:
        match request.split(maxsplit=1)[0]:
            case "DESCRIBE":
                return answer(body=SDP, Content_Type="application/sdp")
            case "SETUP":
                return answer(Transport="RTP/AVP/TCP;unicast;interleaved=0-1", Session="1")
            case "PLAY":
                return answer(Session="1") + media[:-100]
        return answer()

    async with serving(reply) as (port, _):
        trouble = await trouble_of(RtspSource(f"rtsp://127.0.0.1:{port}/a", INGEST))
    assert "no media arrives any more" in str(trouble)
    assert trouble.retryable


async def test_only_the_address_that_was_judged_is_connected_to() -> None:
    """DNS rebinding: the second answer leads to a server that must hear nothing until it has been judged itself."""
    asked: list[str] = []

    def find(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.255.255.1"]

    async with serving(lambda request: answer("404 Not Found")) as (port, requests):
        source = RtspSource(f"rtsp://cam.example.com:{port}/a", INGEST, find=find)
        assert "no such stream" in str(await trouble_of(source))
        assert asked == ["cam.example.com"]
        assert requests
        assert "cam.example.com: leads to 10.255.255.1, a private address" in str(await trouble_of(source))


async def test_an_address_of_this_machine_is_refused_unless_allowed() -> None:
    async with serving(lambda request: answer()) as (port, requests):
        trouble = await trouble_of(RtspSource(f"rtsp://127.0.0.1:{port}/a", Ingest()))
    assert "a loopback address; if that is meant, add 127.0.0.1 to ingest.allow_hosts" in str(trouble)
    assert not requests


async def test_a_server_that_refuses_may_be_tried_again() -> None:
    trouble = await trouble_of(RtspSource("rtsp://user:secret@127.0.0.1:1/camera", INGEST))
    assert "connection refused" in str(trouble)
    assert trouble.retryable
    assert "secret" not in str(trouble)


async def test_a_certificate_nobody_vouches_for_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(self_signed(tmp_path / "both.pem"))
    async with serving(lambda request: answer("404 Not Found"), tls) as (port, requests):
        trouble = await trouble_of(RtspSource(f"rtsps://127.0.0.1:{port}/a", INGEST))
        assert "certificate is not trusted" in str(trouble)
        assert not trouble.retryable
        assert not requests
        assert "no such stream" in str(await trouble_of(RtspSource(f"rtsps://127.0.0.1:{port}/a", INGEST, tls_verify=False)))


async def test_a_server_without_tls() -> None:
    server = await asyncio.start_server(lambda reader, writer: (writer.write(answer("400 Bad Request")), writer.close()), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert "speaks no TLS" in str(await trouble_of(RtspSource(f"rtsps://127.0.0.1:{port}/a", INGEST)))


def self_signed(path: Path) -> Path:
    """A certificate for this hour, and its key, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(hours=1))
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    return path

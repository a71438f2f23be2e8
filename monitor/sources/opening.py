"""Opens media with FFmpeg so that a path never reaches the network, and turns FFmpeg's errors into one clear line."""

import os
import re
import ssl
import time
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

import av
import av.logging
from av.container import InputContainer

from monitor.config import Ingest
from monitor.errors import SourceError

av.logging.set_level(None)  # damaged media would fill stderr; what matters is raised or counted

FILE_PROTOCOLS = "file"
NOT_MEDIA = frozenset({"adf", "bin", "concat", "dash", "ffmetadata", "hls", "idf", "image2", "lavfi", "sdp", "tedcaptions", "tty", "xbin"})
"""FFmpeg formats that turn text into pictures or open further files and addresses named inside."""
MEDIA_FORMATS = ",".join(sorted(av.formats_available - NOT_MEDIA))

_SILENCE: tuple[type[Exception], ...] = (av.error.ExitError, TimeoutError, BlockingIOError)
_READING_TROUBLES: list[tuple[tuple[type[Exception], ...], str, bool]] = [
    (_SILENCE, "no media arrives any more; is the camera on and reachable?", True),
]
_OPENING_TROUBLES: list[tuple[tuple[type[Exception], ...], str, bool]] = [
    ((av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError), "the camera refuses the login; check user and password", False),
    ((av.error.HTTPNotFoundError,), "the server has no such stream (404); is the path right, does somebody publish there?", True),
    ((av.error.HTTPClientError,), "the server rejects the request; is the address right?", False),
    (
        (ssl.SSLCertVerificationError,),
        "its certificate is not trusted; install its authority, or set tls_verify: false for the stream",
        False,
    ),
    ((ssl.SSLError,), "the server speaks no TLS; is the port right, is it rtsp:// instead of rtsps://?", True),
    ((ConnectionRefusedError,), "connection refused; is the server running and the port right?", True),
    ((av.error.InvalidDataError,), "the answer is not RTSP, or the server hung up; is the port right?", True),
    (_SILENCE, "no answer in time; is the camera on and reachable?", True),
]

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


def safe_name(url: str) -> str:
    """The address without user, password and query, fit for logs and messages."""
    if not _URL.match(url):
        return url
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return f"{url.split(':', 1)[0]}://…"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"


def real_path(path: str, root: Path | None) -> str:
    """With all links followed. Raises SourceError when it lies outside of `root`, if there is one."""
    real = os.path.realpath(path)
    if root is not None and not Path(real).is_relative_to(root.resolve()):
        raise SourceError(f"{path}: lies outside of ingest.file_root; move it there, or change that")
    return real


def open_file(path: str, shown: str, timeouts_s: tuple[float, float] = (10.0, 10.0)) -> InputContainer:
    """`timeouts_s`: (open, read). Raises SourceError for what can be said without FFmpeg, else FFmpeg's own errors (see `explain`)."""
    path = os.path.abspath(path)
    _check_file(path, shown)
    options = {"protocol_whitelist": FILE_PROTOCOLS, "format_whitelist": MEDIA_FORMATS}
    container = av.open(f"file:{path}", mode="r", options=options, timeout=timeouts_s)
    if container.format.name.endswith("_pipe"):
        container.close()
        raise SourceError(f"{shown}: is a still picture; only recordings can be judged")
    return container


def open_live(what: str | BinaryIO, demuxer: Literal["rtsp", "sdp"], options: dict[str, str], ingest: Ingest) -> InputContainer:
    """`what`: an address, or the text of an SDP; `options` must hold a protocol_whitelist. Raises FFmpeg's own errors (see `explain`)."""
    started_s = time.monotonic()
    timeouts_s = (ingest.open_timeout_s, ingest.read_timeout_s)
    common = {
        "max_pixels": str(ingest.max_pixels),
        "allowed_media_types": "audio+video",
        "timeout": str(int((max(timeouts_s) + 1) * 1e6)),  # PyAV's own limits come first: they tell silence from nonsense
        "buffer_size": str(1 << 20),
        "analyzeduration": "1000000",
    }
    try:
        return av.open(what, mode="r", format=demuxer, options=common | options, timeout=timeouts_s)
    except av.error.InvalidDataError:
        if time.monotonic() - started_s < timeouts_s[0]:
            raise
        raise TimeoutError from None  # FFmpeg's RTSP reader reports its interruption as bad data


def _check_file(path: str, shown: str) -> None:
    if not os.path.lexists(path):
        raise SourceError(f"{shown}: no such file")
    if os.path.isdir(path):
        raise SourceError(f"{shown}: is a directory, not a media file")
    if not os.path.isfile(path):
        raise SourceError(f"{shown}: is not a regular file")
    if not os.access(path, os.R_OK):
        raise SourceError(f"{shown}: may not be read (permission denied)")
    if os.path.getsize(path) == 0:
        raise SourceError(f"{shown}: is empty")


def explain_file(shown: str) -> SourceError:
    return SourceError(f"{shown}: is not a media file, or is damaged beyond reading")


def explain_live(error: Exception, name: str, *, while_reading: bool = False) -> SourceError:
    """One line without credentials; network troubles are retryable, wrong addresses and logins are not."""
    for kinds, text, retryable in _READING_TROUBLES if while_reading else _OPENING_TROUBLES:
        if isinstance(error, kinds):
            return SourceError(f"{name}: {text}", retryable=retryable)
    broken = "the connection broke off" if while_reading else "cannot be opened"
    return SourceError(f"{name}: {broken} ({_reason(error)})", retryable=True)


def _reason(error: Exception) -> str:
    """The system's words alone: an FFmpeg message repeats the whole address."""
    return getattr(error, "strerror", None) or type(error).__name__

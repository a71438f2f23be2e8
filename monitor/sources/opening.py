"""Opens media with FFmpeg so that a path never reaches the network, and turns FFmpeg's errors into one clear line."""

import os
import re
import socket
import ssl
import time
from typing import Literal
from urllib.parse import urlsplit

import av
import av.logging
from av.container import InputContainer

from monitor.errors import SourceError

av.logging.set_level(None)  # damaged media would fill stderr; what matters is raised or counted

FILE_PROTOCOLS = "file"
RTSP_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls"
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
    ((ConnectionRefusedError,), "connection refused; is the server running and the port right?", True),
    ((av.error.InvalidDataError,), "the answer is not RTSP, or the server hung up; is the port right?", True),
    (_SILENCE, "no answer in time; is the camera on and reachable?", True),
]

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


def is_rtsp(url: str) -> bool:
    return url.lower().startswith(("rtsp://", "rtsps://"))


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


def open_container(url: str, transport: Literal["tcp", "udp"], open_timeout_s: float, read_timeout_s: float) -> InputContainer:
    """Raises SourceError for what can be said without FFmpeg, else FFmpeg's own errors (see `explain`)."""
    timeouts_s = (open_timeout_s, read_timeout_s)
    if is_rtsp(url):
        options = {
            "protocol_whitelist": RTSP_PROTOCOLS,
            "rtsp_transport": transport,
            "allowed_media_types": "audio+video",
            "timeout": str(int((max(timeouts_s) + 1) * 1e6)),  # PyAV's own limits come first: they tell silence from nonsense
            "buffer_size": str(1 << 20),
            "analyzeduration": "1000000",
        }
        return _open_rtsp(url, options, timeouts_s)
    if _URL.match(url):
        raise SourceError(f"{safe_name(url)}: only files and rtsp:// or rtsps:// addresses can be read")
    path = os.path.abspath(url)
    _check_file(path, url)
    options = {"protocol_whitelist": FILE_PROTOCOLS, "format_whitelist": MEDIA_FORMATS}
    container = av.open(f"file:{path}", mode="r", options=options, timeout=timeouts_s)
    if container.format.name.endswith("_pipe"):
        container.close()
        raise SourceError(f"{url}: is a still picture; only recordings can be judged")
    return container


def _open_rtsp(url: str, options: dict[str, str], timeouts_s: tuple[float, float]) -> InputContainer:
    started_s = time.monotonic()
    refuse_redirect(url, timeouts_s[0])
    try:
        return av.open(url, mode="r", format="rtsp", options=options, timeout=timeouts_s)
    except av.error.InvalidDataError:
        if time.monotonic() - started_s < timeouts_s[0]:
            raise
        raise TimeoutError from None  # FFmpeg's RTSP reader reports its interruption as bad data


def refuse_redirect(url: str, timeout_s: float) -> None:
    """Raises SourceError when the server answers DESCRIBE with 3xx: FFmpeg would follow it to any host, whatever its whitelist says.

    Asks without credentials, so a redirect that comes only after the login is not seen. Raises OSError when there is no connection.
    """
    parts = urlsplit(url)
    secure = parts.scheme.lower() == "rtsps"
    bare = safe_name(url)
    request = f"DESCRIBE {bare}{'?' + parts.query if parts.query else ''} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    try:
        with socket.create_connection((parts.hostname or "", parts.port or (322 if secure else 554)), timeout_s) as plain:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as FFmpeg does; only the status line is read
            with context.wrap_socket(plain, server_hostname=parts.hostname) if secure else plain as connection:
                connection.sendall(request.encode())
                status = connection.recv(64)
    except (ssl.SSLError, ValueError):
        return  # FFmpeg's own try will say more
    if re.match(rb"RTSP/\d\.\d 3\d\d", status):
        raise SourceError(f"{bare}: the server redirects to another address; name that address yourself if you trust it")


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


def explain(error: Exception, url: str, *, while_reading: bool = False) -> SourceError:
    """One line without credentials; network troubles are retryable, wrong addresses and files are not."""
    name = safe_name(url)
    if is_rtsp(url):
        text, retryable = _rtsp_trouble(error, while_reading)
        return SourceError(f"{name}: {text}", retryable=retryable)
    return SourceError(f"{name}: is not a media file, or is damaged beyond reading")


def _rtsp_trouble(error: Exception, while_reading: bool) -> tuple[str, bool]:
    """What happened, and whether trying again may help."""
    for kinds, text, retryable in _READING_TROUBLES if while_reading else _OPENING_TROUBLES:
        if isinstance(error, kinds):
            return text, retryable
    broken = "the connection broke off" if while_reading else "cannot be opened"
    return f"{broken} ({_reason(error)})", True


def _reason(error: Exception) -> str:
    """The system's words alone: an FFmpeg message repeats the whole address."""
    return getattr(error, "strerror", None) or type(error).__name__

"""The configuration: YAML checked key by key. Whatever is wrong is said in one line with its place and what to do."""

import re
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, PrivateAttr, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

PARTICIPANT = r"^[^\x00-\x1f\x7f]{1,128}$"
STREAM_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
HOST_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*", re.IGNORECASE)
SOURCES = {
    "file": "container",
    "sdp": "rtp",
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "http": "whep",
    "https": "whep",
    "janus+http": "janus",
    "janus+https": "janus",
    "ws": "livekit",
    "wss": "livekit",
}
"""Where sources register: a URL's scheme, or what stands in for one, → the module of `monitor.sources` whose `open_stream` opens it."""
SCHEMES = tuple(scheme for scheme in SOURCES if scheme not in ("file", "sdp"))


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), validate_default=True)


class IceServer(Section):
    """A STUN or TURN server: how peers behind address translation and firewalls are reached."""

    url: str = Field(pattern=r"^(stun|turn|turns):[^\s<>@]+$")
    username: str | None = Field(default=None, pattern=r"^[^\x00-\x1f]+$")
    credential_file: Path | None = None
    _credential: str | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> "IceServer":
        if self.url.startswith("turn") and (self.username is None or self.credential_file is None):
            raise _problem("url", f"{self.url} needs username and credential_file")
        if self.credential_file is not None:
            self._credential = _read_secret("credential_file", self.credential_file, info)
        return self

    @property
    def credential(self) -> str | None:
        return self._credential


class Server(Section):
    """Where the service listens, and who may use it."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    token: SecretStr | None = None
    token_file: Path | None = None
    max_sessions: int = Field(default=16, ge=1)
    max_sdp_bytes: int = Field(default=65536, ge=1024)
    allowed_origins: tuple[str, ...] = ()
    ice_servers: tuple[IceServer, ...] = ()
    _bearer: str | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> "Server":
        if self.token is not None and self.token_file is not None:
            raise _problem("token_file", "token and token_file are both set; keep one of them")
        if self.token_file is not None:
            self._bearer = _read_secret("token_file", self.token_file, info)
        elif self.token is not None:
            self._bearer = self.token.get_secret_value().strip()
            if not self._bearer:
                raise _problem("token", "is empty; give a secret, or null for none")
        if self._bearer is None and not is_loopback(self.host):
            raise _problem("host", f"{self.host} is open to other machines but no token is set; set server.token_file, or use 127.0.0.1")
        return self

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+", value):
                raise _problem("", f"{value!r} is no origin; write https://meet.example.org, in small letters and without a path")
        return values

    @property
    def bearer(self) -> str | None:
        """The secret that every request must carry, or None when nobody else can reach the service."""
        return self._bearer


class Stream(Section):
    """One configured source. Its id names it in metrics, alerts and on the page."""

    id: str = Field(pattern=STREAM_ID)
    participant: str | None = Field(default=None, pattern=PARTICIPANT)
    url: str | None = Field(default=None, repr=False)
    url_file: Path | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    sdp: str | None = None
    bind: IPvAnyAddress = IPv4Address("127.0.0.1")
    transport: Literal["tcp", "udp"] = "tcp"
    tls_verify: bool = True
    realtime: bool = True
    loop: bool = False
    _address: str = PrivateAttr(default="")
    _token: str | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> "Stream":
        if [self.url, self.url_file, self.sdp].count(None) != 2:
            raise _problem("url", "give one of url, url_file and sdp: an address, the path of a media file or folder, or an SDP")
        if self.sdp is not None:
            return self
        key = "url" if self.url is not None else "url_file"
        address = self.url.strip() if self.url is not None else _read_secret("url_file", self.url_file or Path(), info)
        scheme, colon, _ = address.partition("://")
        if colon and scheme not in SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise _problem(key, f"{scheme}:// is not supported; use {known} or the path of a media file")
        if not colon:
            address = str(_base_dir(info) / Path(address).expanduser())
        elif not _host(address):
            raise _problem(key, f"has no usable host; write {scheme}://host:port/path")
        if self.password_file is not None:
            address = _with_password(address, _read_secret("password_file", self.password_file, info))
        if self.token_file is not None:
            self._token = _read_secret("token_file", self.token_file, info)
        self._address = address
        return self

    @property
    def token(self) -> str | None:
        """The content of `token_file`."""
        return self._token

    @property
    def address(self) -> str:
        """What to open, credentials included: never for a log line. Empty where `sdp` says it all."""
        return self._address

    @property
    def source(self) -> str:
        """The key in SOURCES of what opens it."""
        scheme, colon, _ = self._address.partition("://")
        return scheme if colon else "sdp" if self.sdp is not None or self._address.endswith(".sdp") else "file"

    @property
    def is_file(self) -> bool:
        return self.source == "file"


class Ingest(Section):
    """What sources may reach and how much they may bring, whoever is at their other end."""

    allow_hosts: tuple[str, ...] = ()
    file_root: Path | None = None
    max_pixels: int = Field(default=9_000_000, ge=1)
    max_fps: float = Field(default=120.0, gt=0)
    max_kbps: float = Field(default=50_000.0, gt=0)
    max_sdp_bytes: int = Field(default=65536, ge=1024)
    max_tracks: int = Field(default=8, ge=1)
    open_timeout_s: float = Field(default=10.0, gt=0)
    read_timeout_s: float = Field(default=10.0, gt=0)
    stall_s: float = Field(default=2.0, gt=0)

    @field_validator("allow_hosts")
    @classmethod
    def _hosts(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not HOST_NAME.fullmatch(value) or value.rpartition(".")[2].isdigit():
                _network(value)
        return values

    @field_validator("file_root")
    @classmethod
    def _root(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        root = value and (_base_dir(info) / value.expanduser())
        if root is not None and not root.is_dir():
            raise _problem("", f"{value} is not a folder; give the folder that holds the files, or null for anywhere")
        return root

    @model_validator(mode="after")
    def _check(self) -> "Ingest":
        if self.stall_s >= self.read_timeout_s:
            raise _problem("stall_s", f"{self.stall_s:g} is not below read_timeout_s ({self.read_timeout_s:g}); make it smaller")
        return self


class Models(Section):
    """Which model files judge, and on what."""

    dir: Path | None = None
    face_detector: Path | None = None
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    strict: bool = False

    @field_validator("face_detector")
    @classmethod
    def _file(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        path = _base_dir(info) / value.expanduser()
        if not path.is_file():
            raise _problem("", f"{value} is not a file; give an ONNX face detector of YuNet's kind, or null for ours")
        return path

    @field_validator("dir")
    @classmethod
    def _folder(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        folder = _base_dir(info) / value.expanduser()
        if not folder.is_dir():
            raise _problem("", f"{value} is not a folder; give the folder of the .onnx files, or null for the built-in models")
        return folder


class Detection(Section):
    """How a stream is looked at."""

    detect_hz: float = Field(default=5.0, gt=0, le=60)
    min_face_px: int = Field(default=48, ge=16)
    patience_s: float = Field(default=1.0, ge=0, le=10)


class Policy(Section):
    """When the evidence about one modality becomes an incident, and when that ends; None keeps what the models were calibrated with."""

    threshold: float | None = Field(default=None, gt=0, lt=1)
    min_evidence_s: float | None = Field(default=None, ge=0)
    hold_s: float | None = Field(default=None, ge=0)
    cooldown_s: float | None = Field(default=None, ge=0)


class Alerts(Section):
    audio: Policy = Policy()
    video: Policy = Policy()
    sync: Policy = Policy()


class Log(Section):
    incidents_path: str | None = "-"


class Reconnect(Section):
    initial_s: float = Field(default=1.0, gt=0)
    max_s: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "Reconnect":
        if self.max_s < self.initial_s:
            raise _problem("max_s", f"{self.max_s:g} is below initial_s ({self.initial_s:g}); make it at least as large")
        return self


class Config(Section):
    """Everything that can be set. `Config()` is the default; `monitor.config_file.load` reads one from YAML."""

    server: Server = Server()
    streams: tuple[Stream, ...] = ()
    ingest: Ingest = Ingest()
    models: Models = Models()
    detection: Detection = Detection()
    alerts: Alerts = Alerts()
    log: Log = Log()
    reconnect: Reconnect = Reconnect()

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _unique_ids(self) -> "Config":
        seen: dict[str, int] = {}
        for index, stream in enumerate(self.streams):
            if stream.id in seen:
                first = f"streams.{seen[stream.id]}"
                raise _problem(f"streams.{index}.id", f'"{stream.id}" is already the id of {first}; give every stream its own')
            seen[stream.id] = index
        return self


def _problem(key: str, message: str) -> PydanticCustomError:
    """An error about `key` (dotted, relative to the section that raises it; "" for the value itself)."""
    return PydanticCustomError("problem", "{what}", {"what": message, "key": key})


def _base_dir(info: ValidationInfo) -> Path:
    """Relative paths start at the folder of the configuration file."""
    return Path((info.context or {}).get("base_dir", "."))


def _read_secret(key: str, path: Path, info: ValidationInfo) -> str:
    try:
        secret = (_base_dir(info) / path.expanduser()).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise _problem(key, f"{path} cannot be read ({reason}); give a readable text file that holds only the secret") from None
    if not secret or "\n" in secret:
        raise _problem(key, f"{path} must hold exactly one line, the secret")
    return secret


def _network(text: str) -> None:
    try:
        ip_network(text)
    except ValueError:
        raise _problem("", f"{text!r} is no host name, address or network; write cam.lan, 192.0.2.7 or 192.0.2.0/24") from None


def _host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        return parts.hostname if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at or not user or ":" in user:
        raise _problem("password_file", "needs a user name without a password in the url: rtsp://user@host/path")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))

"""The configuration: YAML checked key by key. Whatever is wrong is said in one line with its place and what to do."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

STREAM_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
STREAM_SCHEMES = ("rtsp", "rtsps")


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


class Server(Section):
    """Where the service listens, and who may use it."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    token: SecretStr | None = None
    token_file: Path | None = None
    max_sessions: int = Field(default=16, ge=1)
    max_sdp_bytes: int = Field(default=65536, ge=1024)
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

    @property
    def bearer(self) -> str | None:
        """The secret that every request must carry, or None when nobody else can reach the service."""
        return self._bearer


class Stream(Section):
    """One configured source. Its id names it in metrics, alerts and on the page."""

    id: str = Field(pattern=STREAM_ID)
    url: str | None = Field(default=None, repr=False)
    url_file: Path | None = None
    password_file: Path | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    realtime: bool = True
    loop: bool = False
    _address: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> "Stream":
        if (self.url is None) == (self.url_file is None):
            raise _problem("url", "give either url or url_file: an rtsp:// address or the path of a media file")
        key = "url" if self.url is not None else "url_file"
        address = self.url.strip() if self.url is not None else _read_secret("url_file", self.url_file or Path(), info)
        scheme, colon, _ = address.partition("://")
        if colon and scheme not in STREAM_SCHEMES:
            raise _problem(key, f"{scheme}:// is not supported; use rtsp://, rtsps:// or the path of a media file")
        if not colon:
            address = str(_base_dir(info) / Path(address).expanduser())
        elif not _host(address):
            raise _problem(key, "has no usable host; write rtsp://host:port/path")
        if self.password_file is not None:
            address = _with_password(address, _read_secret("password_file", self.password_file, info))
        self._address = address
        return self

    @property
    def address(self) -> str:
        """What to open, credentials included: never for a log line."""
        return self._address

    @property
    def is_file(self) -> bool:
        return "://" not in self._address


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

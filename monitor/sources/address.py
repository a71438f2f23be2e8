"""Which addresses a source may connect to: a URL is checked, its host looked up once, and that answer is all that is ever connected to.

Against server-side request forgery: hosts in private, loopback, link-local and other special ranges (RFC 6890) are refused unless
`ingest.allow_hosts` opens them. The lookup is an argument; nothing else here does I/O.
"""

import re
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

from monitor.config import HOST_NAME
from monitor.errors import SourceError

Address = IPv4Address | IPv6Address
LookUp = Callable[[str, int], Sequence[str]]
"""(host name, port) → its addresses as text. Raises OSError when there are none."""

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
MOST_URL_LETTERS = 2048
LOCALHOST = ("127.0.0.0/8", "::1/128")
SITE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
"""All that a host name in `ingest.allow_hosts` opens; loopback and link-local take an address or a network there."""
PUBLIC_V6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")
ELSEWHERE = tuple(map(ip_network, ("2002::/16", "2001::/32", "192.88.99.0/24")))  # 6to4 and Teredo lead to an IPv4 address written inside
_KINDS = ("unspecified", "loopback", "link_local", "multicast", "reserved", "private")
_CANDIDATE = re.compile(r"a=candidate:\S+ \d+ \w+ \d+ (\S+) .*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Pinned:
    """A URL whose host has been looked up. `addresses` are the only ones to connect to; `target` is path and query."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    target: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def look_up(host: str, port: int) -> Sequence[str]:
    """The system's resolver. Blocks: not for an event loop's thread."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def pin(url: str, schemes: Collection[str], allowed: Sequence[str] = (), find: LookUp = look_up) -> Pinned:
    """Raises SourceError when the URL is not plain or leads where it may not (final), or its host is unknown (retryable)."""
    parts, host, port = _taken_apart(url, schemes)
    shown = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}"
    literal = _literal(host, shown)
    if literal is None and not HOST_NAME.fullmatch(host):
        raise SourceError(f"{shown}: is no plain host name; write letters, digits, '-' and '.', other alphabets in their xn-- form")
    addresses = [literal] if literal is not None else _found(host, port, shown, find)
    for address in addresses:
        kind = why_not(address, "" if literal else host, allowed)
        if kind is not None:
            what = f"is {kind}" if literal else f"leads to {address}, {kind}"
            raise SourceError(f"{shown}: {what}; if that is meant, add {_remedy(address, host)} to ingest.allow_hosts")
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Pinned(parts.scheme, host, port, tuple(dict.fromkeys(map(str, addresses))), target, user, password)


def why_not(address: Address, name: str, allowed: Sequence[str]) -> str | None:
    """What kind of address this is that may not be connected to, or None. `name`: the host name that led to it, if one did."""
    inner = _inner(address)
    networks = [network for entry in allowed for network in _networks(entry)]
    if any(address in network or inner in network for network in networks):
        return None
    kind = _kind(inner)
    at_site = any(inner in ip_network(network) for network in SITE)
    return None if kind is None or (at_site and name and name in map(str.lower, allowed)) else kind


def reachable(sdp: str, host: str, allowed: Sequence[str], name: str) -> str:
    """An SDP of `host`'s without candidates that lead where URLs may not. Raises SourceError when none is left of some."""
    lines = sdp.splitlines()
    kept = [line for line in lines if not line.startswith("a=candidate:") or _may_lead_there(line, host, allowed)]
    if len(kept) < len(lines) and not any(line.startswith("a=candidate:") for line in kept):
        places = dict.fromkeys(match[1] for match in map(_CANDIDATE.fullmatch, lines) if match)
        raise SourceError(f"{name}: its media come only from {' '.join(places)}, which ingest.allow_hosts does not open")
    return "\r\n".join(kept) + "\r\n"


def _may_lead_there(candidate: str, host: str, allowed: Sequence[str]) -> bool:
    match = _CANDIDATE.fullmatch(candidate)
    try:
        return match is not None and why_not(ip_address(match[1]), host, allowed) is None
    except ValueError:
        return False  # a name (mDNS) would be looked up by somebody else


def _taken_apart(url: str, schemes: Collection[str]) -> tuple[SplitResult, str, int]:
    """Refuses whatever two URL readers could read differently."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in schemes:
        wanted = " or ".join(f"{known}://" for known in schemes)
        raise SourceError(
            f"{scheme[:20] if scheme.isprintable() and scheme else 'this'}: is not opened here; the address must begin with {wanted}"
        )
    shown = f"{scheme}://…"
    if len(url) > MOST_URL_LETTERS or not url.isascii() or not url.isprintable() or any(letter in url for letter in ' \\"<>^`{|}'):
        raise SourceError(f"{shown}: holds blanks, backslashes or other letters that no URL has; write them as %20, %5C, xn--…")
    try:
        parts = urlsplit(url)
        port = PORTS[scheme] if parts.port is None else parts.port
        host = parts.hostname or ""
    except ValueError:
        raise SourceError(f"{shown}: has no usable host or port; write {scheme}://host:port/path") from None
    if parts.netloc.count("@") > 1 or parts.fragment or url.endswith("#"):
        raise SourceError(f"{shown}: holds a second @ or a #; write them as %40 and %23")
    host = host.removesuffix(".")
    if not host or not port:
        raise SourceError(f"{shown}: has no usable host or port; write {scheme}://host:port/path")
    return parts, host, port


def _literal(host: str, shown: str) -> Address | None:
    """The address that `host` is; None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        if ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):  # a resolver reads 2130706433, 0x7f.1 and 017700000001 as addresses
            raise SourceError(f"{shown}: is an address in an unusual form; write it as 192.0.2.7 or [2001:db8::7]") from None
        return None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise SourceError(f"{shown}: names a network interface (%); leave it out")
    return _unmapped(address)


def _found(host: str, port: int, shown: str, find: LookUp) -> list[Address]:
    try:
        found = [_unmapped(ip_address(text.partition("%")[0])) for text in find(host, port)]
    except (OSError, ValueError):
        found = []
    if not found:
        raise SourceError(f"{shown}: the host's name cannot be looked up; is it right, does DNS work?", retryable=True)
    return found


def _unmapped(address: Address) -> Address:
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _inner(address: Address) -> Address:
    """The IPv4 address that packets to this IPv6 address reach in the end, else the address."""
    return IPv4Address(int(address) & 0xFFFF_FFFF) if isinstance(address, IPv6Address) and address in NAT64 else address


def _kind(address: Address) -> str | None:
    """None for an address of the public internet."""
    for kind in _KINDS:
        if getattr(address, f"is_{kind}"):
            return f"{'an' if kind == 'unspecified' else 'a'} {kind.replace('_', '-')} address"
    foreign = isinstance(address, IPv6Address) and address not in PUBLIC_V6
    if foreign or not address.is_global or any(address in network for network in ELSEWHERE):
        return "no address of the public internet"
    return None


def _networks(entry: str) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(network) for network in (LOCALHOST if entry.lower() == "localhost" else (entry,))]
    except ValueError:
        return []  # a name


def _remedy(address: Address, host: str) -> str:
    inner = _inner(address)
    return host if any(inner in ip_network(network) for network in SITE) else str(address)

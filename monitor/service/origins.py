"""What a WHIP publisher's browser has to be told: whether its page may publish here (CORS), and which STUN and TURN servers there are."""

from urllib.parse import urlsplit

from aiohttp import web

from monitor.config import Server, is_loopback
from monitor.sources.sdpfrag import CONTENT_TYPE as FRAGMENT

PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Max-Age": "600",
    "Accept-Post": "application/sdp",
    "Accept-Patch": FRAGMENT,
}
_READABLE = "Accept-Patch, ETag, Link, Location, Retry-After, WWW-Authenticate"


class Origins:
    """The sites whose pages may publish. A program that is no browser sends no Origin, and is the token's business alone.

    `server.allowed_origins` names them. Where it is empty, any may that knows the token; without a token only pages that this machine
    serves to itself, so that no site a person happens to visit can publish from within.
    """

    def __init__(self, server: Server) -> None:
        self._allowed = frozenset(server.allowed_origins)
        self._any = not self._allowed and server.bearer is not None

    def may(self, request: web.Request) -> bool:
        origin = request.headers.get("Origin")
        if origin is None or self._any or origin in self._allowed:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return bool(parts.netloc) and (parts.netloc == request.host or (not self._allowed and is_loopback(parts.hostname or "")))

    def headers(self, request: web.Request) -> dict[str, str]:
        """For a request that `may`."""
        origin = request.headers.get("Origin")
        vary = {"Vary": "Origin"}
        return vary | {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _READABLE} if origin else vary


def ice_links(server: Server) -> list[str]:
    """Link header values (RFC 9725, 4.6)."""
    return [
        f'<{ice.url}>; rel="ice-server"'
        + (
            f'; username="{_quoted(ice.username)}"; credential="{_quoted(ice.credential)}"; credential-type="password"'
            if ice.username is not None and ice.credential is not None
            else ""
        )
        for ice in server.ice_servers
    ]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')

"""Who may ask. With a token: whoever sends it (Bearer, or the page's cookie). Without: only this machine, by one of its own names."""

import hmac
import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from urllib.parse import urlsplit

from aiohttp import web
from jinja2 import Template

from monitor.config import is_loopback

COOKIE = "deepfake_monitor"
OPEN_PATHS = {"/healthz", "/readyz", "/login"}
SESSIONS_KEPT = 256
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gate:
    """The login form, and the middleware in front of everything."""

    def __init__(self, bearer: str | None) -> None:
        self._bearer = bearer
        self._sessions: dict[str, None] = {}
        self._form = Template(files("monitor.service").joinpath("page/login.html").read_text(), autoescape=True)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/login", self.form), web.post("/login", self.login)]

    async def form(self, request: web.Request) -> web.Response:
        return self._page("")

    async def login(self, request: web.Request) -> web.Response:
        token = (await request.post()).get("token", "")
        if self._bearer is not None and not (isinstance(token, str) and _same(token.strip(), self._bearer)):
            return self._page("This is not the token.", status=401)
        session = secrets.token_urlsafe(32)
        self._sessions[session] = None
        for oldest in list(self._sessions)[:-SESSIONS_KEPT]:
            del self._sessions[oldest]
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(COOKIE, session, httponly=True, samesite="Strict", secure=request.secure, path="/")
        return response

    @web.middleware
    async def middleware(self, request: web.Request, handler: Respond) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return _with_headers(refusal)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(_HEADERS)
            raise
        return response if response.prepared else _with_headers(response)

    def _refusal(self, request: web.Request) -> web.Response | None:
        whip = request.path.startswith("/whip/")
        if self._bearer is None and not is_loopback(_host_name(request)):
            return web.Response(
                status=403, text="without a token this service answers only to a name of its own machine, such as 127.0.0.1\n"
            )
        if not whip and request.method not in _SAFE_METHODS and not _same_origin(request):
            return web.Response(status=403, text="a page of another site may not do this\n")
        is_open = request.path in OPEN_PATHS or request.path.startswith("/static/") or (whip and request.method == "OPTIONS")
        if self._bearer is None or is_open or self._authorized(request, cookie=not whip):
            return None
        if request.path == "/":
            return web.Response(status=303, headers={"Location": "/login"})
        why = "the token is missing or wrong; send it as 'Authorization: Bearer TOKEN'\n"
        return web.Response(status=401, text=why, headers={"WWW-Authenticate": 'Bearer realm="deepfake-monitor"'})

    def _authorized(self, request: web.Request, *, cookie: bool) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._bearer is not None and _same(given.strip(), self._bearer):
            return True
        return cookie and request.cookies.get(COOKIE) in self._sessions

    def _page(self, message: str, status: int = 200) -> web.Response:
        return web.Response(status=status, text=self._form.render(message=message), content_type="text/html")


def _with_headers(response: web.StreamResponse) -> web.StreamResponse:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogateescape"), secret.encode())


def _host_name(request: web.Request) -> str:
    """Without the port; a page that made its own name point at this machine (DNS rebinding) still sends its own name."""
    return urlsplit(f"//{request.host}").hostname or ""


def _same_origin(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host

"""HTTP to a pinned address: no redirects, no second look-up, answers of bounded length."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.sources.address import Pinned, pin

MOST_MESSAGE_BYTES = 1 << 20  # of a WebSocket


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


class Client:
    """Asks one server. Raises SourceError, retryable where the network or the server has a bad day."""

    def __init__(self, session: aiohttp.ClientSession, pinned: Pinned, most_bytes: int) -> None:
        host = f"[{pinned.host}]" if ":" in pinned.host else pinned.host
        self.base = f"{pinned.scheme}://{host}:{pinned.port}"
        self._session = session
        self._most_bytes = most_bytes

    @asynccontextmanager
    async def talk(self, target: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket, its pings left to the caller. Raises aiohttp.WSServerHandshakeError when the server does not want one."""
        shown = f"{self.base}{target.partition('?')[0]}"
        try:
            url = URL(f"{self.base}{target}", encoded=True)
            talking = await self._session.ws_connect(url, headers=headers, autoping=False, max_msg_size=MOST_MESSAGE_BYTES)
        except aiohttp.WSServerHandshakeError:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceError(f"{shown}: no connection ({type(error).__name__}); is the server running?", retryable=True) from None
        async with talking:
            yield talking

    async def ask(self, method: str, target: str, headers: Mapping[str, str], body: str | None = None) -> Answer:
        """`target`: path and query. Statuses from 400 on are the caller's; a redirect is an error."""
        shown = f"{self.base}{target.partition('?')[0]}"
        try:
            async with self._session.request(method, f"{self.base}{target}", headers=headers, data=body, allow_redirects=False) as response:
                if 300 <= response.status < 400:
                    raise SourceError(f"{shown}: the server redirects to another address; name that address yourself if you trust it")
                read = await response.content.read(self._most_bytes + 1)
                while len(read) <= self._most_bytes and (more := await response.content.read(self._most_bytes + 1)):
                    read += more
                if len(read) > self._most_bytes:
                    raise SourceError(f"{shown}: the answer is longer than ingest.max_sdp_bytes ({self._most_bytes})")
                return Answer(response.status, response.headers, read.decode(errors="replace"))
        except TimeoutError:
            raise SourceError(f"{shown}: no answer in time", retryable=True) from None
        except aiohttp.ClientConnectorCertificateError:
            raise SourceError(f"{shown}: the certificate is not valid for this name") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SourceError(f"{shown}: no connection ({type(error).__name__}); is the server running?", retryable=True) from None


@asynccontextmanager
async def connected(url: str, ingest: Ingest) -> AsyncIterator[tuple[Client, Pinned]]:
    """Looks the address up once; every request goes to what was found then."""
    pinned = await asyncio.to_thread(pin, url, ("http", "https"), ingest.allow_hosts)
    connector = aiohttp.TCPConnector(resolver=_Found(pinned.addresses))
    timeout = aiohttp.ClientTimeout(total=ingest.open_timeout_s)
    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_redirected)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, trace_configs=[tracing]
    ) as session:
        yield Client(session, pinned, ingest.max_sdp_bytes), pinned


async def _redirected(*told: object) -> None:
    """aiohttp follows a redirect of a WebSocket, past the resolver if it leads to a literal address."""
    raise SourceError("the server redirects to another address; name that address yourself if you trust it")


class _Found(AbstractResolver):
    """Knows the pinned addresses alone."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass

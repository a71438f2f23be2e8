"""The way to a peer after the offer: candidates that come later, and a new way when the old one broke (ICE restart, RFC 8445, RFC 8838).

aiortc takes later candidates but knows no restart. For one, a second aioice connection is made beside the first and put into its place
once it works; DTLS and everything above go on. aioice takes a peer for gone whose six answers in a row took longer than half a second
each, which on a busy machine they do: `ask_patiently`. Their private names are touched in these two only.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from aioice import Candidate, Connection
from aioice.stun import TransactionError
from aiortc import RTCIceServer, RTCPeerConnection
from aiortc.rtcicetransport import connection_kwargs

from monitor.config import IceServer
from monitor.errors import SourceError
from monitor.sources.sdpfrag import MOST_CANDIDATES, Fragment

CONSENT_EVERY_S = 5.0  # this, and the next, as RFC 7675 has it
CONSENT_S = 30.0
CONSENT_REPEATS = 3  # of a question, after 0.5, 1 and 2 s; 4 s later its answer no longer counts


def ask_patiently(connection: Any, on_lost: Callable[[], None]) -> None:
    """From now on this aioice connection is closed, and that is told before, when no answer at all came for CONSENT_S."""

    async def query_consent() -> None:
        loop = asyncio.get_running_loop()
        answered_s = loop.time()
        while loop.time() < answered_s + CONSENT_S:
            await asyncio.sleep(CONSENT_EVERY_S * random.uniform(0.8, 1.2))
            for pair in list(connection._nominated.values()):
                question = connection.build_request(pair, nominate=False)
                key = connection.remote_password.encode()
                with suppress(TransactionError):
                    await pair.protocol.request(question, pair.remote_addr, integrity_key=key, retransmissions=CONSENT_REPEATS)
                    answered_s = loop.time()
        on_lost()
        connection._query_consent_task = None  # this one; `close` would wait for it
        await connection.close()

    connection.query_consent = query_consent


def rtc_servers(servers: Sequence[IceServer]) -> list[RTCIceServer]:
    return [RTCIceServer(urls=server.url, username=server.username, credential=server.credential) for server in servers]


class Ice:
    """The ICE session of one peer whose media share one transport (BUNDLE). `add` and `restart` raise SourceError for what is unusable."""

    def __init__(self, peer: RTCPeerConnection, servers: list[RTCIceServer], on_lost: Callable[[], None]) -> None:
        """`peer`: its offer and answer have been exchanged. `on_lost`: see `ask_patiently`, for connections made here."""
        self._on_lost = on_lost
        self._transport: Any = peer.getTransceivers()[0].receiver.transport.transport
        self._newest: Connection = self._transport._connection
        self._servers = servers
        self._told = len(self._newest.remote_candidates)
        self._connecting: set[asyncio.Task[None]] = set()

    def is_restart(self, fragment: Fragment) -> bool:
        return None not in (fragment.ufrag, self._newest.remote_username) and fragment.ufrag != self._newest.remote_username

    async def add(self, fragment: Fragment) -> None:
        """Later candidates of the peer; a candidate that no connection could use is passed over."""
        await self._tell(self._newest, fragment)

    async def restart(self, fragment: Fragment) -> Fragment:
        """Our side of the new ICE session. Media goes on over the old way until the new one works, and stays there if it never does."""
        connection = Connection(self._newest.ice_controlling, **connection_kwargs(self._servers))
        ask_patiently(connection, self._on_lost)
        connection.remote_username, connection.remote_password = fragment.ufrag, fragment.password
        await connection.gather_candidates()
        self._told = 0
        try:
            await self._tell(connection, fragment)
        except SourceError:
            await connection.close()
            raise
        given_up, self._newest = self._newest, connection
        if given_up is not self._transport._connection:
            await given_up.close()
        ours = tuple(("0", candidate.to_sdp()) for candidate in connection.local_candidates)
        task = asyncio.create_task(self._connect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return Fragment(connection.local_username, connection.local_password, ours, complete=True)

    async def close(self) -> None:
        """Ends what is still being tried; the connection in use is the peer's."""
        for task in list(self._connecting):
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        if self._newest is not self._transport._connection:
            await self._newest.close()

    async def _tell(self, connection: Connection, fragment: Fragment) -> None:
        self._told += len(fragment.candidates)
        if self._told > MOST_CANDIDATES:
            raise SourceError(f"the session has more than {MOST_CANDIDATES} candidates")
        try:
            candidates = [Candidate.from_sdp(text) for _, text in fragment.candidates]
        except (ValueError, LookupError):
            raise SourceError("the fragment has a candidate that is no ICE candidate") from None
        with suppress(ValueError):  # told already that no more would come
            for candidate in candidates:
                await connection.add_remote_candidate(candidate)
            if fragment.complete:
                await connection.add_remote_candidate(None)

    async def _connect(self, connection: Connection) -> None:
        try:
            await connection.connect()
        except ConnectionError:
            await connection.close()
            return
        if connection is self._newest and self._transport.state not in ("closed", "failed"):
            await self._switch(connection)

    async def _switch(self, connection: Any) -> None:
        transport, old = self._transport, self._transport._connection
        connection._queue, old._queue = old._queue, connection._queue  # somebody waits on the old one for the next packet
        transport._connection, transport._recv, transport._send = connection, connection.recv, connection.send
        watching = transport._RTCIceTransport__monitor_task
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        transport._RTCIceTransport__monitor_task = asyncio.create_task(transport._monitor())
        await old.close()

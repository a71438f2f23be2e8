"""The way to a peer after the offer: candidates that come later, and a new way when the old one broke (ICE restart, RFC 8445, RFC 8838).

aiortc takes later candidates but knows no restart. For one, a second aioice connection is made beside the first and put into its place
once it works; DTLS and everything above go on. Its private names are touched in `_switch` only.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aioice import Candidate, Connection
from aiortc import RTCIceServer, RTCPeerConnection
from aiortc.rtcicetransport import connection_kwargs

from monitor.config import IceServer
from monitor.errors import SourceError
from monitor.sources.sdpfrag import MOST_CANDIDATES, Fragment


def rtc_servers(servers: Sequence[IceServer]) -> list[RTCIceServer]:
    return [RTCIceServer(urls=server.url, username=server.username, credential=server.credential) for server in servers]


class Ice:
    """The ICE session of one peer whose media share one transport (BUNDLE). `add` and `restart` raise SourceError for what is unusable."""

    def __init__(self, peer: RTCPeerConnection, servers: list[RTCIceServer]) -> None:
        """`peer`: its offer and answer have been exchanged."""
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

"""coturn of Debian, as a relay on this machine."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

USER, PASSWORD = "monitor", "sesame"


def own_address() -> str:
    """An address of this machine that is not loopback: browsers offer no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        return str(probe.getsockname()[0])


@contextlib.asynccontextmanager
async def relay(program: str, folder: Path) -> AsyncIterator[str]:
    """Its turn: address."""
    address = own_address()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    told = {
        "listening-ip": address,
        "relay-ip": address,
        "listening-port": port,
        "user": f"{USER}:{PASSWORD}",
        "realm": "call",
        "userdb": folder / "db",
        "log-file": "stdout",
        "pidfile": folder / "pid",
    }
    flags = ["-n", "--lt-cred-mech", "--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers"]
    with (folder / "turn.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, *flags, *(f"--{name}={value}" for name, value in told.items()), stdout=log, stderr=log
        )
    try:
        async with asyncio.timeout(20):
            while True:
                assert process.returncode is None, (folder / "turn.log").read_text()
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(address, port)
                    writer.close()
                    break
                await asyncio.sleep(0.2)
        yield f"turn:{address}:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

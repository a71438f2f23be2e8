"""Memory that pictures have left goes back to the system: the C library keeps it, and after every busy moment it keeps more."""

import asyncio
import ctypes

TRIM_EVERY_S = 30.0


async def keep_memory_trimmed() -> None:
    """Until it is cancelled; does nothing where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(TRIM_EVERY_S)
        await asyncio.to_thread(trim, 0)

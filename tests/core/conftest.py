"""Core tests run in virtual time: nothing sleeps, everything is decided by the media's own clock."""

from typing import Any

from tests.autojump import AutojumpLoop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Any]:
    return {"virtual_time": AutojumpLoop}

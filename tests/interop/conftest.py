"""Real programs of others. One that is missing skips its tests with the reason, so that nobody believes they ran."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.interop.chromium import camera_and_microphone

SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's bindings of GStreamer exist for this one only


def need(program: str) -> str:
    """The program's path, or the running test is skipped."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@pytest.fixture(scope="session")
def chromium() -> str:
    return need("chromium")


@pytest.fixture(scope="session")
def devices(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files for a browser's camera and microphone."""
    return camera_and_microphone(tmp_path_factory.mktemp("devices"))


@pytest.fixture(scope="session")
def gstreamer_python() -> str:
    """A Python that can import GStreamer's RTSP server."""
    python = need(SYSTEM_PYTHON)
    code = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if subprocess.run([python, "-c", code], capture_output=True, check=False).returncode:
        pytest.skip("GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0, python3-gi)")
    return python


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.interop)

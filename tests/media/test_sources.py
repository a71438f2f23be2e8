"""Sources register in one table: what is written in the configuration opens what it names, and nothing before it runs."""

from importlib import import_module
from pathlib import Path

import pytest

from monitor.channel import Channel
from monitor.config import SOURCES, Config, Ingest
from monitor.errors import SourceError
from monitor.sources import open_stream
from monitor.sources.container import ContainerSource
from monitor.sources.rtp import RtpSource
from monitor.sources.rtsp import RtspSource

SDP = "v=0\nm=audio 0 RTP/AVP 0\n"


@pytest.mark.parametrize("module", sorted(set(SOURCES.values())))
def test_every_module_of_the_table_can_open(module: str) -> None:
    assert callable(import_module(f"monitor.sources.{module}").open_stream)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ({"url": "rtsp://cam.example.com/a"}, RtspSource),
        ({"url": "rtsps://cam.example.com/a", "tls_verify": False}, RtspSource),
        ({"url": "call.mp4"}, ContainerSource),
        ({"url": "folder/"}, ContainerSource),
        ({"url": "call.sdp"}, RtpSource),
        ({"sdp": SDP, "bind": "192.0.2.7"}, RtpSource),
    ],
)
def test_what_is_written_opens_what_it_names(written: dict[str, object], kind: type) -> None:
    (stream,) = Config.model_validate({"streams": [{"id": "a", **written}]}).streams
    assert isinstance(open_stream(stream, Ingest()), kind)


async def test_an_sdp_file_is_read_under_the_root_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "call.sdp").write_text(SDP)
    (root / "call.sdp").symlink_to(tmp_path / "call.sdp")
    for path, said in (
        (tmp_path / "call.sdp", "outside of ingest"),
        (root / "call.sdp", "outside of ingest"),
        (root / "no.sdp", "cannot be read"),
    ):
        (stream,) = Config.model_validate({"streams": [{"id": "a", "url": str(path)}]}).streams
        with pytest.raises(SourceError, match=said):
            await open_stream(stream, Ingest(file_root=root)).run(Channel(4, "drop_oldest"))

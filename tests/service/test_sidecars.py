"""Every configuration that docs/sidecars.md shows is complete and right."""

import re
from pathlib import Path

import pytest

from monitor import config_file
from monitor.config import SOURCES
from monitor.sources import open_stream

PAGE = (Path(__file__).parents[2] / "docs" / "sidecars.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def load(block: str, folder: Path) -> config_file.Config:
    for secret in re.findall(r"_file: (\S+)", block):
        (folder / secret).parent.mkdir(exist_ok=True)
        (folder / secret).write_text("sesame\n")
    (folder / "config.yaml").write_text(block)
    return config_file.load(folder / "config.yaml")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: str(re.findall(r"id: (\S+)", block) or "server"))
def test_a_shown_configuration_passes_check_config(block: str, tmp_path: Path) -> None:
    config = load(block, tmp_path)
    for stream in config.streams:
        assert hasattr(open_stream(stream, config.ingest), "run")


def test_the_page_shows_every_kind_of_sidecar(tmp_path: Path) -> None:
    shown = {stream.source for block in BLOCKS for stream in load(block, tmp_path).streams}
    assert {SOURCES[kind] for kind in shown} == set(SOURCES.values()) - {"container"}

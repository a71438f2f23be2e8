"""What docs/evaluation.json says of models and cards is what the shipped ones say."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install -e .[export])")

from export.data.pool import REPOSITORY
from export.evaluation.run import card_numbers, plain

MODELS = REPOSITORY / "exported_models"
ANEW = "evaluate anew: python -m export.evaluate ../shared/data/devset --jobs 2 --out docs/evaluation.md --json docs/evaluation.json"


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    told: dict[str, Any] = json.loads((REPOSITORY / "docs" / "evaluation.json").read_text())
    return told


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that holds no others, by the keys that lead to it."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, f"{path}/{key}")
    else:
        yield path, value


def test_the_published_numbers_of_cards_are_those_of_the_shipped_cards(published: dict[str, Any]) -> None:
    told, shipped = dict(leaves(published["cards"])), dict(leaves(plain(card_numbers(MODELS))))
    older = {path: (told.get(path), shipped.get(path)) for path in told.keys() | shipped.keys() if told.get(path) != shipped.get(path)}
    assert not older, f"{len(older)} numbers are not the cards'; {ANEW}"


def test_the_published_numbers_were_measured_with_the_shipped_models(published: dict[str, Any]) -> None:
    shipped = {card["name"]: card["sha256"] for file in MODELS.glob("*.json") if "sha256" in (card := json.loads(file.read_text()))}
    assert shipped
    assert published["models"] == shipped, ANEW

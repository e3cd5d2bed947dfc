from __future__ import annotations

from typing import get_args

import pytest

from configs.schema import CorpusConfig
from preprocessing.documents.formats import FORMATS


def test_recipe_accepts_exactly_the_known_formats() -> None:
    assert set(get_args(CorpusConfig.model_fields["format"].annotation)) == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_recipe_documentation_explains_every_format(name: str) -> None:
    assert f"{name}: " in str(CorpusConfig.model_fields["format"].description)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_rate_for_the_plan(name: str) -> None:
    assert FORMATS[name].text_mb_s > 0

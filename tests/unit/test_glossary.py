"""Each page links to the glossary where it first uses one of its terms."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness.pages import GLOSSARY, LINKED, PAGES, anchor, first_uses


def test_the_glossary_defines_each_term_once() -> None:
    defined = re.findall(r'<a id="([\w-]+)"></a>([^|]+?) \|', GLOSSARY.read_text())
    assert len(dict(defined)) == len(defined)
    for name, term in defined:
        assert name == anchor(term)
    assert {anchor(term) for term in LINKED} <= set(dict(defined))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_to_the_glossary_where_it_first_uses_a_term(page: Path) -> None:
    missing = [use.term for use in first_uses(page.read_text()) if not use.linked]
    assert not missing, f"{page.name}: run `make pages`, or link the first use of {missing}"


def test_a_term_in_code_in_a_heading_or_in_another_link_is_no_use_of_it() -> None:
    text = "# A shard\n`shard` [a shard](x.md) then [shards](glossary.md#shard), a shard."
    assert [(use.term, use.linked) for use in first_uses(text)] == [("shard", True)]
    assert [use.linked for use in first_uses("a shard")] == [False]

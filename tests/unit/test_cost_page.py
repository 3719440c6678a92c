"""The page about costs shows what the code computes."""

from __future__ import annotations

from benchmarks.cost_page import PAGE, rewritten


def test_the_tables_of_the_page_are_what_is_computed() -> None:
    text = PAGE.read_text()
    assert rewritten(text) == text, "run python -m benchmarks.cost_page"


def test_a_table_that_differs_is_replaced_and_the_text_around_it_stays() -> None:
    text = "before\n<!-- lines -->\n| old |\n<!-- end -->\nafter\n"
    found = rewritten(text)
    assert "old" not in found
    assert "| IoT connectivity |" in found
    assert found.startswith("before\n")
    assert found.endswith("\nafter\n")

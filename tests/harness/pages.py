"""What is made of the pages themselves: links to the glossary, and the list of decisions.

``python -m tests.harness.pages`` (``make pages``) writes what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
GLOSSARY: Final = ROOT / "docs" / "glossary.md"
DECISIONS: Final = ROOT / "docs" / "decisions"
OTHERS: Final = ("index", "glossary", "commands", "devices", "settings", "simulator")
"""Pages that are lists and examples."""

PAGES: Final = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if page.stem not in OTHERS
]

LINKED: Final = (
    "acknowledgement", "archive", "Basic Ingest", "boot", "checkpoint", "disposition", "durable",
    "embedded AWS", "failpoint", "flush", "fold", "fork server", "hot tables", "lease", "ledger",
    "mutant", "oracle", "rollback guard", "roster", "scenario", "segment", "shard", "spool",
    "tier", "topic rule", "verifier", "window", "zombie",
)  # fmt: skip
"""Terms that link to the glossary where a page first uses them. Others are common words too."""

_NOT_PROSE: Final = re.compile(
    r"```.*?```"  # code
    r"|`(?:[^`\n]|\n(?!\n))*`"  # also over the end of a line
    r"|^[#|][^\n]*"  # headings and tables
    r"|<[^>\n]*>"  # HTML
    r"|!\[[^\]]*\]"  # images
    r"|\[[^\]]*\]\((?!\S*glossary\.md)[^)]*\)",  # links to other pages
    flags=re.DOTALL | re.MULTILINE,
)


class Use(NamedTuple):
    """The first use of a term in a text, as characters ``[start, end)``."""

    term: str
    start: int
    end: int
    linked: bool


def anchor(term: str) -> str:
    """The term's anchor in the glossary."""
    return term.lower().replace(" ", "-")


def first_uses(text: str) -> Iterator[Use]:
    """Each term that a page uses in its prose, singular or plural, where it does so first."""
    prose = _NOT_PROSE.sub(lambda found: re.sub(r"\S", " ", found[0]), text)
    for term in LINKED:
        use = rf"(?<![\w/.-]){re.escape(term)}s?(?![\w-])"
        if found := re.search(use, prose, flags=re.IGNORECASE):
            link = re.compile(rf"[^\[\]]*\]\([\w./]*glossary\.md#{anchor(term)}\)")
            linked = link.match(text, found.end()) is not None
            yield Use(term, found.start(), found.end(), linked)


def link_terms(page: Path) -> str:
    """The page's text with the links that are missing."""
    text = page.read_text()
    target = relpath(GLOSSARY, page.parent)
    missing = sorted((use for use in first_uses(text) if not use.linked), key=lambda use: use.start)
    for use in reversed(missing):
        link = f"[{text[use.start : use.end]}]({target}#{anchor(use.term)})"
        text = text[: use.start] + link + text[use.end :]
    return text


def decision_rows() -> str:
    """The rows of the table in ``docs/decisions/index.md``."""
    rows = []
    for page in sorted(DECISIONS.glob("[0-9]*.md")):
        number, _, title = page.read_text().splitlines()[0].removeprefix("# ").partition(". ")
        rows.append(f"| {int(number)} | [{title}]({page.name}) |\n")
    return "".join(rows)


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        page.write_text(link_terms(page))
    index = DECISIONS / "index.md"
    head, rule, _ = index.read_text().partition("|---|---|\n")
    index.write_text(head + rule + decision_rows())


if __name__ == "__main__":
    main()

"""A report as one HTML file that needs nothing else: sections of text and tables, and plots."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from string import Template
from typing import Final

from simulator.plots import Plot, Series, figure, nice

__all__ = ["Plot", "Section", "Series", "Table", "nice", "page"]

_TEMPLATE: Final = "report_page.html"


@dataclass(frozen=True)
class Table:
    """Rows of text under headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the page: a paragraph, a list and a table, each where there is one."""

    title: str
    text: str = ""
    items: Sequence[str] = field(default_factory=tuple)
    table: Table | None = None


def page(
    *,
    title: str,
    verdict: str,
    plots: Sequence[Plot],
    facts: Sequence[tuple[str, str]],
    notes: Sequence[str],
    lead: str = "",
    sections: Sequence[Section] = (),
) -> str:
    """The whole page. ``verdict`` and ``lead`` are the first lines; ``notes`` is what a reader
    must look at; ``facts`` are figures at the end. All text is escaped here."""
    template = Template(resources.files("simulator").joinpath(_TEMPLATE).read_text())
    return template.substitute(
        title=html.escape(title),
        verdict=html.escape(verdict),
        kind="exact" if verdict.lower().startswith("exact") else "",
        lead=html.escape(lead),
        notes=_section(Section("What differs, and what was noticed", items=notes)) if notes else "",
        sections="\n".join(map(_section, sections)),
        plots=f'<div class="plots">{"".join(map(figure, plots))}</div>',
        facts=_section(Section("Figures", table=Table(("figure", "value"), facts)))
        if facts
        else "",
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>")
    if section.items:
        parts.append(
            f"<ul>{''.join(f'<li>{html.escape(item)}</li>' for item in section.items)}</ul>"
        )
    if section.table is not None:
        parts.append(_table(section.table))
    return f"<section>{''.join(parts)}</section>"


def _table(table: Table) -> str:
    head = "".join(f"<th scope=col>{html.escape(heading)}</th>" for heading in table.headings)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'

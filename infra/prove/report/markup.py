"""Pieces of the page: values in, HTML out."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def escaped(value: object) -> str:
    """A value as text."""
    return html.escape(str(value))


def section(title: str, content: str) -> str:
    """A titled part of the page; ``content`` is HTML already."""
    return f"<section><h2>{escaped(title)}</h2>{content}</section>"


def bullets(sentences: Iterable[str]) -> str:
    """A list; what stands in backticks is code."""
    return f"<ul>{''.join(f'<li>{_with_code(one)}</li>' for one in sentences)}</ul>"


def _with_code(sentence: str) -> str:
    parts = escaped(sentence).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def table(headings: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Rows of cells that are HTML already, as :func:`cell` makes them."""
    head = "".join(f"<th scope=col>{escaped(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    top = f"<tr>{head}</tr>" if headings else ""
    return f'<div class="wide"><table>{top}{body}</table></div>'


def cell(value: str, note: str = "", kind: str = "") -> str:
    """A cell with a smaller note under it; ``kind`` is a class of the page's style."""
    small = f"<small>{escaped(note)}</small>" if note else ""
    return f'<td class="{kind}">{escaped(value)}{small}</td>'

"""Record a run of ``penstock demo``: an animated SVG, and the output that the README shows.

``python -m benchmarks.recording`` runs the demo once and notes when each line appeared. It writes
``docs/images/demo.svg`` and the block under ``<!-- demo output -->`` in ``README.md``. It fails,
and writes nothing, unless the run was exact.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

ROOT: Final = Path(__file__).parents[1]
COLUMNS: Final = 100
SPEED: Final = 4
"""How much faster than the run the recording plays."""
HOLD_S: Final = 8.0
"""How long the last frame stays before the recording begins again."""

CHARACTER: Final = 8.43
LINE: Final = 19
MARGIN: Final = 16
_GREEN: Final = "#3fb950"
_TEXT: Final = "#e6edf3"
_SOFT: Final = "#8b949e"


class Line(NamedTuple):
    """A line of output, and when (s after the start) it appeared."""

    at: float
    text: str


def record() -> list[Line]:
    """Run the demo in an empty folder.

    :raises subprocess.CalledProcessError: when it was not exact.
    """
    command = [str(Path(sys.executable).with_name("penstock")), "demo"]
    started = time.monotonic()
    found = []
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as run,
    ):
        assert run.stdout is not None
        for text in run.stdout:
            found.append(Line(time.monotonic() - started, text.rstrip("\n")))
    if run.returncode:
        raise subprocess.CalledProcessError(run.returncode, command)
    return found


def wrapped(lines: list[Line]) -> list[Line]:
    """The lines as a terminal of :data:`COLUMNS` shows them."""
    return [
        Line(line.at, part)
        for line in lines
        for part in textwrap.wrap(line.text, COLUMNS, subsequent_indent=" " * 10) or [""]
    ]


def svg(lines: list[Line]) -> str:
    """The recording: each line fades in when it appeared, again and again. Pure."""
    shown = [Line(0.0, "$ make demo"), *wrapped(lines)]
    whole = shown[-1].at / SPEED + HOLD_S
    width = round(COLUMNS * CHARACTER + 2 * MARGIN)
    height = len(shown) * LINE + 2 * MARGIN
    rows, frames = [], []
    for number, line in enumerate(shown):
        start = 100 * (line.at / SPEED) / whole
        frames.append(
            f"@keyframes l{number}{{0%,{start:.2f}%{{opacity:0}}"
            f"{min(start + 0.3, 100):.2f}%,100%{{opacity:1}}}}"
        )
        rows.append(
            f'<text x="{MARGIN}" y="{MARGIN + LINE * (number + 1) - 6}" fill="{_color(line.text)}" '
            f'style="animation:l{number} {whole:.1f}s linear infinite">{escape(line.text)}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img">\n'
        f"<title>penstock demo, recorded, played {SPEED} times as fast</title>\n"
        "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;"
        "white-space:pre}"
        "@media (prefers-reduced-motion: reduce){text{animation:none!important}}"
        f"{''.join(frames)}</style>\n"
        f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def _color(text: str) -> str:
    if text.startswith("exact"):
        return _GREEN
    return _SOFT if text.startswith(("$", "  →")) else _TEXT


def with_output(readme: str, lines: list[Line]) -> str:
    """The README with the lines as its block of output."""
    mark = "<!-- demo output -->\n```\n"
    before, _, rest = readme.partition(mark)
    _, _, after = rest.partition("\n```")
    output = "\n".join(line.text for line in lines)
    return f"{before}{mark}{output}\n```{after}"


def main() -> None:
    """Record, and write both files."""
    lines = record()
    (ROOT / "docs" / "images" / "demo.svg").write_text(svg(lines))
    readme = ROOT / "README.md"
    readme.write_text(with_output(readme.read_text(), lines))


if __name__ == "__main__":
    main()

"""The pages of docs/ as blocks: what a fence holds, and what the comment above it says to the tests.

Comments that mean something, each in the line above a fence:

`<!-- file: NAME -->` the block is written to NAME; `<!-- not run: WHY -->` its commands are not run;
`<!-- small: PATH=VALUE … -->` they run with a smaller study; `<!-- needs: MODULE -->` they run where that
can be imported (a block of TOML may need several); `<!-- printed by: FILE -->` the block is what a Python file
of the page prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

_FENCE = re.compile(r"(?:<!-- ([a-z ]+): ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block, its language, and the comment above it as a word and what it says."""

    language: str
    text: str
    mark: str
    says: str


def text(name: str) -> str:
    """A page by its path in docs/."""
    return (DOCS / name).read_text("utf-8")


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The page's blocks, of one language or all."""
    found = [Block(m[3], m[4], m[1] or "", m[2] or "") for m in _FENCE.finditer(page.read_text("utf-8"))]
    return [block for block in found if language in (None, block.language)]


def links(page: Path) -> list[str]:
    """The targets of the page's links."""
    return _LINK.findall(_FENCE.sub("", page.read_text("utf-8")))


def headings(page: Path) -> list[str]:
    """The page's headings, without their marks."""
    prose = _FENCE.sub("", page.read_text("utf-8"))
    return [line.lstrip("#").strip() for line in prose.splitlines() if line.startswith("#")]


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may end in."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings(page))
    return {heading.replace(" ", "-") for heading in kept}


def section(name: str, heading: str) -> str:
    """The text below a heading, up to the next of its level or a higher one."""
    lines = text(name).splitlines()
    start = next(i for i, line in enumerate(lines) if line.lstrip("#").strip() == heading and line[0] == "#")
    level = len(lines[start]) - len(lines[start].lstrip("#"))
    rest = lines[start + 1 :]
    end = next((i for i, s in enumerate(rest) if re.match(rf"#{{1,{level}}} ", s)), len(rest))
    return "\n".join(rest[:end])


def rows(part: str) -> dict[str, list[str]]:
    """The rows of the tables in a text, by what stands in backquotes in their first cell."""
    cells = ([cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in _ROW.findall(part))
    return {row[0].strip("`"): row[1:] for row in cells if row[0].startswith("`")}

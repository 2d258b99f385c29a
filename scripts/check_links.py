"""Checks that every relative link in the Markdown files leads somewhere, headings included."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]^]+\]:\s+<?([^\s>]+)>?", re.MULTILINE)
FENCE = re.compile(r"^ {0,3}(```+|~~~+).*?^ {0,3}\1\s*$", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$", re.MULTILINE)


def pages() -> list[Path]:
    """The Markdown files at the project's root and everything under docs/."""
    return sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))


def anchors(text: str) -> set[str]:
    """Names of a page's headings, as the usual Markdown renderers make them."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        base = slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        repeat = 0
        while slug in found:
            repeat += 1
            slug = f"{base}-{repeat}"
        found.add(slug)
    return found


def broken_links(page: Path) -> Iterator[str]:
    """What is wrong with each link of a page that leads nowhere."""
    text = page.read_text(encoding="utf-8")
    prose = CODE_SPAN.sub("", FENCE.sub("", text))
    for target in LINK.findall(prose) + REFERENCE.findall(prose):
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path) if path else page
        if not goal.exists():
            yield f"{target}: no such file"
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text("utf-8")):
            yield f"{target}: no such heading"


def main() -> int:
    """Prints every broken link; 1 when there is one."""
    checked = pages()
    problems = [(page, problem) for page in checked for problem in broken_links(page)]
    for page, problem in problems:
        print(f"{page.relative_to(ROOT)}: {problem}", file=sys.stderr)
    if not problems:
        print(f"links resolve in {len(checked)} pages")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""For mkdocs: a link out of docs/ becomes the name of its file, which a site cannot open."""

from __future__ import annotations

import re
from typing import Any

# In the repository these links lead somewhere, and scripts/check_links.py sees to it.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#\s]+)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace `[text](../path)` by the text and the path, unless the text is the path's name."""
    return _OUTSIDE.sub(_named, markdown)


def _named(link: re.Match[str]) -> str:
    text, path = link.groups()
    return f"`{path}`" if path.endswith(text) else f"{text} (`{path}`)"

"""Check that links and images of the built pages lead somewhere: ``python docs/_links.py docs/_build/html``."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Anchors and addresses of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.addresses = {""}, set[str]()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag defines and what it refers to."""
        for name, value in attrs:
            if name in ("id", "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src"):
                self.addresses.add(value or "")


def dead(root: Path) -> list[str]:
    """Links to files of the site, or to anchors, that do not exist."""
    root = root.resolve()
    pages = {path: Page(path) for path in sorted(root.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        if path.relative_to(root).parts[0] in ("_static", "_modules"):  # templates of the theme, listings of the source
            continue
        for address in page.addresses:
            link = urlsplit(address)
            if link.scheme or link.netloc:
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            anchors = pages[target].anchors if target in pages else {link.fragment}
            if not target.exists() or unquote(link.fragment) not in anchors:
                found.append(f"{path.relative_to(root)}: {address}")
    return sorted(found)


if __name__ == "__main__":
    sys.exit("\n".join(dead(Path(sys.argv[1]))) or None)

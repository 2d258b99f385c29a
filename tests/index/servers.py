"""Real HTTP servers on this machine: one that serves byte ranges, and one that is overloaded."""

from __future__ import annotations

import http.server
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves a folder by byte ranges, and remembers what was asked for."""

    asked: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return super().do_GET()
        data = path.read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        first, last = (int(found[1]), int(found[2])) if found else (0, len(data) - 1)
        piece = data[first : last + 1]
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {first}-{first + len(piece) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        self.wfile.write(piece)

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, *_: Any) -> None: ...


class Overloaded(Ranges):
    """Answers requests for certain paths with an error, so many times or until it is told."""

    status = 503
    refusals: dict[str, int] = {}  # by the last piece of the path
    refused: Counter[str] = Counter()

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if self.refused[name] < self.refusals.get(name, 0):
            self.refused[name] += 1
            return self.send_error(self.status)
        super().do_GET()


@contextmanager
def serving(handler: type[Ranges], folder: Path) -> Iterator[str]:
    """Serve a folder; yield the URL."""

    def handle(*arguments: Any) -> Ranges:
        return handler(*arguments, directory=str(folder))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handle) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_port}"
        finally:
            served.shutdown()
            thread.join()

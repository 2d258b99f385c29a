"""A hundred kinds of bad file in a crawl of a thousand good images, by the real command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks import bad_files

from .commands import Workspace

GOOD = 1000


@pytest.mark.slow
def test_every_good_image_is_embedded_and_every_bad_file_explained(
    tmp_path: Path, data_dir: Path, teacher: Path
) -> None:
    crawl = tmp_path / "crawl"
    reasons = bad_files.write(crawl)
    bad_files.write_good(data_dir, crawl, GOOD)
    workspace = Workspace(tmp_path / "ws")
    done = workspace.run("build-index", crawl, "--embedder", teacher, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "1 of them may be readable now" in done.stderr  # /proc/self/mem
    (counts,) = workspace.sql(
        "SELECT (SELECT count(*) FROM images) AS images, (SELECT count(*) FROM vectors) AS vectors,"
        " (SELECT count(*) FROM locations) AS places"
    )
    assert counts == {"images": GOOD, "vectors": GOOD, "places": GOOD}
    failures = workspace.sql("SELECT uri, reason FROM failures")
    found = {row["uri"].rpartition("/")[2]: row["reason"] for row in failures}
    assert len(failures) == len(found) == len(reasons) > 100
    assert {name: found[name][: len(reason)] for name, reason in reasons.items()} == reasons
    assert workspace.run("verify").returncode == 0

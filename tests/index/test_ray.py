"""A build on a real Ray cluster of two nodes is the build of one machine."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index import sources
from index.decoding import Decoder, Pixels, View
from index.engines import LocalEngine, RayEngine, make_engine
from index.engines.cluster import joined
from index.engines.ray import _Decode, _Embed
from index.errors import ClusterError, NetworkError, UsageError
from index.quarantine import Quarantine

from .helpers import (
    PROJECT,
    Fragile,
    Quadrants,
    build,
    content,
    failures,
    png,
    rows,
    write_shards,
    write_tar,
)

pytest.importorskip("ray.data", reason="needs Ray: pip install 'kdcurate[ray]'")
pytestmark = [
    # Ray Data asks itself for settings that it calls deprecated, and leaves sockets to the end.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PATIENCE_S = 120
BAD = {"a.png": png(3), "bad.png": b"SEGV", "b.png": png(900)}


class Slow(Quadrants):
    """Takes long enough to be killed, and says which process that would be."""

    def __init__(self, pids: Path) -> None:
        self._pids = pids

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        (self._pids / str(os.getpid())).touch()
        time.sleep(0.3)
        return super().__call__(pixels)


def load(*, device: str) -> Quadrants:
    assert device == "cpu"  # there is no GPU in the cluster
    return Quadrants()


def load_slow(pids: Path, *, device: str) -> Slow:  # noqa: ARG001
    return Slow(pids)


def load_another(*, device: str) -> Quadrants:
    other = load(device=device)
    other.key = "another"
    return other


def build_slowly(workspace: Path, crawl: str, pids: Path) -> None:
    engine = RayEngine(partial(load_slow, pids))
    build(workspace, Path(crawl), workers=2, decoder=Fragile, engine=engine)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start two nodes of one core and connect; yield the address, at which drivers connect too."""
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # or they give way to all else here
        found = Cluster(True, head_node_args={**node, "include_dashboard": False})
        try:
            found.add_node(**node)
            patch.setenv("RAY_ADDRESS", found.address)
            with joined():
                assert len(ray.nodes()) == 2
                yield found.address
        finally:
            found.shutdown()


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Shards with damaged images and copies, and one that crashes its decoder."""
    folder = write_shards(tmp_path_factory.mktemp("crawl"), shards=8)
    write_tar(folder / "00009.tar", BAD)
    return str(folder / "*.tar")


@pytest.fixture(scope="module")
def undisturbed(crawl: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one machine makes of the crawl."""
    workspace = tmp_path_factory.mktemp("whole") / "ws"
    build(workspace, Path(crawl), workers=1, decoder=Fragile)
    return content(workspace)


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Compare contents; vectors up to the rounding of float16, whose bytes they are."""
    exact = [name for name in expected if name not in ("vectors", "indexed")]
    assert {name: found[name] for name in exact} == {name: expected[name] for name in exact}
    assert found["vectors"].keys() == expected["vectors"].keys()
    for key, row in expected["vectors"].items():
        np.testing.assert_allclose(
            np.frombuffer(found["vectors"][key], np.float32),
            np.frombuffer(row, np.float32),
            atol=2**-10,
        )
    return True


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_the_content_is_that_of_one_machine(
    cluster: str, crawl: str, undisturbed: dict[str, Any], tmp_path: Path, workers: int
) -> None:
    for engine in LocalEngine(), RayEngine(load):
        workspace = tmp_path / type(engine).__name__
        options = {"workers": workers, "rows_a_part": 4, "engine": engine}
        summary = build(workspace, Path(crawl), decoder=Fragile, **options)
        assert same(content(workspace), undisturbed)
        assert failures(workspace)["00009.tar#bad.png"] == "the decoder crashed (signal 11)"
        assert (summary.images, summary.failed) == (8 * 3 + 2, 8 + 1)
        assert len(list(workspace.rglob("part-*.npz"))) > 1
        assert list(workspace.glob("scratch/*")) == []


class Driver:
    """A build in a process of its own, which others watch."""

    def __init__(self, workspace: Path, crawl: str) -> None:
        self.pids = workspace.with_name("pids")
        self.pids.mkdir(exist_ok=True)
        self.parts = workspace / "vectors" / Quadrants.key
        script = (
            "from pathlib import Path; from tests.index.test_ray import build_slowly; "
            f"build_slowly(Path({str(workspace)!r}), {crawl!r}, Path({str(self.pids)!r}))"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", script], cwd=PROJECT, stderr=subprocess.PIPE, text=True
        )

    def until(self, moment: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not moment():
            assert self._process.poll() is None, self._process.communicate()[1]
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def end(self) -> None:
        said = self._process.communicate(timeout=PATIENCE_S)[1]
        assert self._process.returncode == 0, said


@pytest.mark.slow
def test_a_killed_driver_is_run_again_a_killed_worker_replaced(
    cluster: str, crawl: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    driver = Driver(tmp_path / "ws", crawl)
    driver.until(lambda: len(list(driver.parts.glob("part-*.npz"))) >= 2)
    driver.kill()
    ((done,),) = rows(tmp_path / "ws", "SELECT count(*) FROM partitions")
    assert 1 <= done < 9
    for seen in driver.pids.iterdir():
        seen.unlink()

    driver = Driver(tmp_path / "ws", crawl)
    driver.until(lambda: any(driver.pids.iterdir()))
    killed = {path.name for path in driver.pids.iterdir()}
    for pid in killed:
        os.kill(int(pid), signal.SIGKILL)
    driver.end()
    assert {path.name for path in driver.pids.iterdir()} > killed
    assert same(content(tmp_path / "ws"), undisturbed)
    assert list((tmp_path / "ws" / "scratch").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_a_node_that_does_not_see_the_workspace_is_refused(
    cluster: str, crawl: str, tmp_path: Path
) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        workspace = Path(f"/proc/self/fd/{here}/ws")  # a path that leads elsewhere in a worker
        with pytest.raises(ClusterError, match=r"^node .* does not see .*: the workspace and"):
            build(workspace, Path(crawl), workers=1, engine=RayEngine(load))
    finally:
        os.close(here)
    assert not (tmp_path / "ws" / "catalog.duckdb").exists()


def test_what_makes_no_sense_is_refused(cluster: str, crawl: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--workers 0 decodes in this process"):
        build(tmp_path / "ws", Path(crawl), workers=0, engine=RayEngine(load))
    with pytest.raises(UsageError, match="no node of the Ray cluster has a GPU"):
        build(tmp_path / "ws", Path(crawl), workers=1, engine=RayEngine(load, "cuda"))


def test_an_unknown_engine_and_a_missing_ray_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_engine("local", load, "cpu"), LocalEngine)
    with pytest.raises(UsageError, match="^--engine is 'spark': choose one of local, ray$"):
        make_engine("spark", load, "cpu")
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(UsageError, match=r"^`--engine ray` needs Ray: pip install 'kdcurate\[ray"):
        make_engine("ray", load, "cpu")


def test_where_no_cluster_is_one_line_says_so(
    tmp_path: Path, crawl: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"  # nobody listens
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr("ray.is_initialized", lambda: False)  # the fixture's connection stays
        with pytest.raises(ClusterError, match=f"^no Ray cluster at RAY_ADDRESS={address}: "):
            build(tmp_path / "ws", Path(crawl), workers=1, engine=RayEngine(load))


def test_a_node_that_loads_another_network_is_refused(tmp_path: Path) -> None:
    (part,) = sources.partitions([str(write_tar(tmp_path / "0.tar", {"a.png": png(0)}))])
    row = _Decode(Quarantine(Decoder(View(8))))({"bundle": pickle.dumps([part])})
    said = r"^node .* loads another in place of quadrants: give all nodes the same weights$"
    with pytest.raises(NetworkError, match=said):
        _Embed(partial(load_another, device="cpu"), "quadrants", tmp_path)(row)


def test_a_node_that_does_not_see_a_source_blames_no_image(tmp_path: Path) -> None:
    (part,) = sources.partitions([str(write_tar(tmp_path / "0.tar", BAD))])
    (tmp_path / "0.tar").unlink()
    decode = _Decode(Quarantine(Decoder(View(8))))
    with pytest.raises(ClusterError, match=r"^node .* does not see .*0\.tar: "):
        decode({"bundle": pickle.dumps([part])})

"""What does a student learn without any images, beside kd3 and dfnd on a crawl? One row a method.

    .venv/bin/python benchmarks/datafree.py --data DATA --workspace WS

DATA holds webpool/*.parquet, cifar10/ and teachers/. Students are trained by the command line, all
with as many steps; an interrupted benchmark goes on where it was. Seconds are of training alone, as
the run's row has them. How far each method's images are, as a set, from the originals is measured
as `select` does it for a manifest: BatchNorm moments, and over the teacher's vectors the Frechet
distance and MMD^2. `datafree_loop.py` compares the loop with a bare one.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.distances import frechet_distance, median_bandwidth, mmd_squared
from distill.datafree.registry import data_free_names, find_data_free, make_recipe
from distill.networks import load_embedder, load_network
from distill.setmoments import SetMoments
from helpers import students
from index import sources
from index.catalog import Catalog
from index.decoding import DecodeError, Pixels, decode
from index.reading import read_images

ON_THE_CRAWL = {"kd3": ("--strategy", "kd3"), "dfnd": ("--strategy", "dfnd")}
PAIRED = 2000  # images of each set of which MMD^2 looks at pairs


@dataclass(frozen=True)
class Bench:
    """Where everything lies, and how long students learn."""

    data: Path
    workspace: Path
    teacher: Path
    student: str
    steps: int
    budget: int
    images: int
    preset: str
    threads: int
    more: tuple[str, ...]

    @property
    def web(self) -> Path:
        """Workspace of the crawl."""
        return self.workspace / "web"

    def on_the_crawl(self, method: str, seed: int) -> dict[str, Any]:
        """Select as the method's paper does, and train on what was selected."""
        manifest = self.run(
            *("select", "-w", self.web, "--teacher", self.teacher, *ON_THE_CRAWL[method]),
            *("--budget", self.budget, "--name", f"bench-{method}"),
        )["manifest"]
        given = ("--batch-size", 128, "--manifest", manifest)
        return {"manifest": manifest} | self.train(self.web, method, seed, *given)

    def without_images(self, method: str, seed: int) -> dict[str, Any]:
        """Train on the method's own images, and keep some."""
        known = type(find_data_free(method).recipe).model_fields
        asked = dict(pair.split("=", 1) for pair in self.more)
        numbers = {name: value for name, value in asked.items() if name in known}
        recipe = make_recipe(method, self.preset, numbers)
        options = [f"{one}={numbers[one]}" for one in numbers if not recipe.why_unread(one)]
        given = ("--preset", self.preset, "--keep-images", self.images)
        more = [word for pair in options for word in ("--option", pair)]
        return self.train(self.workspace / method, method, seed, *given, *more)

    def train(self, workspace: Path, method: str, seed: int, *given: Any) -> dict[str, Any]:
        """Train a student; return the run's name, accuracy and seconds."""
        found: dict[str, Any] = self.run(
            *("distill", "-w", workspace, "--method", method, "--teacher", self.teacher),
            *("--student", self.student, "--max-steps", self.steps, "--seed", seed, *given),
            *("--eval", self.data / "cifar10/test_5k.parquet"),
        )
        print(f"{method}, seed {seed}: {found}", file=sys.stderr, flush=True)
        return found

    def run(self, *arguments: Any) -> Any:
        """Run a command and return the JSON that it prints."""
        return students.run(*arguments, threads=self.threads)

    def prepare(self) -> None:
        """Index the crawl with the teacher."""
        web = sorted(self.data.glob("webpool/*.parquet"))
        self.run("build-index", *web, "-w", self.web, "--embedder", self.teacher)


class Shift:
    """Distances of a set of images to the originals, and to the teacher's statistics."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        network = load_network(bench.teacher)
        self._moments, self._view = SetMoments(network), network.card.input.view()
        self._embed = load_embedder(load_network(bench.teacher))
        originals = self._decoded(bench.data / "cifar10/original_10k.parquet")
        self._original = self._embed(originals)
        self._bandwidth = median_bandwidth(self._original[:PAIRED])

    def of_manifest(self, name: str) -> dict[str, float]:
        """Measure a sample of what a manifest selected, the smallest ids."""
        chosen = (
            f"SELECT image_id FROM decisions WHERE manifest = '{name}' AND selected "
            f"ORDER BY image_id LIMIT {self._bench.images}"
        )
        read = read_images(Catalog(self._bench.web), self._view, only=chosen)
        return self._measured(torch.cat([torch.from_numpy(part) for _, part in read]).numpy())

    def of_files(self, listing: str) -> dict[str, float]:
        """Measure the images of a list."""
        return self._measured(self._decoded(Path(listing)))

    def of_originals(self) -> dict[str, float]:
        """Other original images: the nearest that a set of this size can be."""
        return self._measured(self._decoded(self._bench.data / "cifar10/test_5k.parquet"))

    def _decoded(self, source: Path) -> Pixels:
        found = list[Pixels]()
        for partition in sources.partitions([str(source)]):
            for item in sources.read(partition):
                try:
                    found.append(decode(item.data, self._view).pixels)
                except DecodeError as error:
                    raise SystemExit(f"{item.uri}: {error}") from error
        return np.stack(found)

    def _measured(self, pixels: Pixels) -> dict[str, float]:
        pixels = pixels[: self._bench.images]
        vectors, original = self._embed(pixels), self._original
        pairs = vectors[:PAIRED], original[:PAIRED]
        return {
            "images": len(pixels),
            "bn_moments": self._moments.distance(pixels),
            "frechet": frechet_distance(vectors, original[: len(pixels)]),
            "mmd": mmd_squared(*pairs, self._bandwidth),
        }


def measure(bench: Bench, seeds: int, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Train every method with every seed, and measure the images of the first."""
    shift = Shift(bench)
    rows = []
    for method in methods:
        crawl = method in ON_THE_CRAWL
        train = bench.on_the_crawl if crawl else bench.without_images
        runs = [train(method, seed) for seed in range(seeds)]
        first = runs[0]
        how_far = shift.of_manifest(first["manifest"]) if crawl else shift.of_files(first["images"])
        rows.append({"method": method, "crawl": crawl, "runs": runs, "shift": how_far})
    originals = {"method": "other originals", "crawl": False, "runs": []}
    return [*rows, originals | {"shift": shift.of_originals()}]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The results as Markdown, best first."""
    columns = ("method", "images", "accuracy", "sd", "each seed", "seconds", "bn_moments")
    columns += ("Frechet", "MMD^2", "of so many")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in sorted(rows, key=lambda row: -accuracy(row)):
        each = [run["accuracy"] for run in row["runs"]]
        seconds = statistics.mean([run["seconds"] for run in row["runs"]] or [math.nan])
        shift, shown = row["shift"], [f"{100 * accuracy(row):.2f}"] if each else []
        lines.append(
            f"| {row['method']} | {'of the crawl' if row['crawl'] else 'none' if each else ''} "
            f"| {', '.join(shown)} | {100 * students.spread(each):.2f} "
            f"| {', '.join(f'{100 * value:.2f}' for value in each)} | {seconds:.0f} "
            f"| {shift['bn_moments']:.4f} | {shift['frechet']:.3f} | {shift['mmd']:.4f} "
            f"| {shift['images']} |"
        )
    return lines


def accuracy(row: dict[str, Any]) -> float:
    """Mean accuracy over the seeds; below all others where nothing was trained."""
    return statistics.mean([run["accuracy"] for run in row["runs"]] or [-1.0])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every student, measure every set, print the table."""
    names = [*ON_THE_CRAWL, *data_free_names()]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("KDCURATE_DATA"))
    parser.add_argument("--workspace", type=Path, default=Path("workspace/datafree"))
    parser.add_argument("--teacher", default="resnet20", help="a card of DATA/teachers")
    parser.add_argument("--student", default="cifar:resnet8")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4000, help="of every student")
    parser.add_argument("--budget", type=int, default=6000, help="images of the crawl")
    parser.add_argument("--images", type=int, default=2000, help="of each set that is measured")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--threads", type=int, default=0, help="of each student; 0: torch's own")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--option", action="append", default=[], help="of methods that read it")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("give --data DIR, or set KDCURATE_DATA")
    bench = Bench(
        data=options.data,
        workspace=options.workspace,
        teacher=options.data / f"teachers/{options.teacher}.toml",
        student=options.student,
        steps=options.steps,
        budget=options.budget,
        images=options.images,
        preset=options.preset,
        threads=options.threads,
        more=tuple(options.option),
    )
    if set(options.only) & ON_THE_CRAWL.keys():
        bench.prepare()
    print(header(options))
    print(*table(measure(bench, options.seeds, options.only)), sep="\n")


def header(options: argparse.Namespace) -> str:
    """What was measured, where, and how to repeat it."""
    asked = (
        f"--teacher {options.teacher} --student {options.student} --seeds {options.seeds} "
        f"--steps {options.steps} --budget {options.budget} --preset {options.preset}"
    )
    machine = students.machine()
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name()}"
    return (
        "# Students without any images\n\n"
        f"Teacher {options.teacher} (CIFAR-10), student {options.student}, {options.steps} steps "
        f"each; `kd3` and `dfnd` on {options.budget:,} images of the crawl, 128 a step, the others "
        f"with `--preset {options.preset}`. Accuracy after the last step on 5,000 CIFAR-10 test "
        f"images, mean and standard deviation of {options.seeds} seeds. Distances are to 10,000 "
        "original images; smaller is closer.\n\n"
        f"{machine}.\n\n"
        f"    python benchmarks/datafree.py {asked} --data DATA --workspace WS\n"
    )


if __name__ == "__main__":
    main()

"""How near does build-index come to the limits of the machine, and to its best-known peer?

    .venv/bin/python benchmarks/build_index.py --peer ENV/bin/clip-retrieval

Real images, enlarged to 300 to 500 pixels on the shorter side and written as JPEG of quality 90,
are embedded by (a) open_clip's ViT-B-32 at 224 pixels, where the network is the limit, and (b)
a network of one convolution at 224 pixels, where decoding is. Beside build-index run the bare
forward pass, on batches that lie in memory as normalised tensors, in the faster of float32 and
bfloat16; bare decoding, `index.decoding.decode` on files in as many processes; and, for (a),
clip-retrieval's inference on the same folder and the same weights, without captions. It needs an
environment of its own: python3 -m venv ENV; ENV/bin/pip install clip-retrieval.

All take turns; the table has the medians. `running` counts from the first image to the last: what
a long build sees. `whole` counts the start of Python, the network's load and the index as well.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import open_clip
import torch
from PIL import Image

from distill.networks import load_embedder, map_batches
from distill.networks.card import resolve
from index.decoding import View, decode
from index.workers import default_workers, process_context

SCRIPT = Path(sys.executable).with_name("kdcurate")
DATA = Path(os.environ.get("KDCURATE_DATA", "../shared/data"))
MODEL = "ViT-B-32"


def write_images(folder: Path, count: int) -> None:
    """Write real images, the largest of the pool first, enlarged; each is another image."""
    folder.mkdir()
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT image FROM read_parquet(?) ORDER BY least(width, height) DESC, url LIMIT ?",
            [str(DATA / "webpool" / "*.parquet"), count],
        ).fetchall()
    for number in range(count):
        image = Image.open(io.BytesIO(rows[number % len(rows)][0])).convert("RGB")
        scale = (300 + number * 37 % 200) / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        resized = image.resize(size, Image.Resampling.BICUBIC)
        resized.save(folder / f"{number:06d}.jpg", quality=90, comment=str(number).encode())


def write_card(folder: Path) -> Path:
    """Save a ViT-B-32 with random weights, which are as fast as trained ones."""
    torch.manual_seed(0)
    torch.save(open_clip.create_model(MODEL).state_dict(), folder / "vit.pt")
    card = folder / "vit.toml"
    card.write_text(f'architecture = "open_clip:{MODEL}"\nweights = "vit.pt"\n')
    return card


TINY = """from torch import nn


def tiny(num_classes: int = 10) -> nn.Module:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes))
    return nn.Sequential(nn.Conv2d(3, 32, 16, 16), nn.ReLU(), *head)
"""


def write_tiny(folder: Path) -> Path:
    """Save a network that costs next to nothing, with the module that defines it."""
    (folder / "tiny_network.py").write_text(TINY)
    sys.path.insert(0, str(folder))
    torch.manual_seed(0)
    torch.save(importlib.import_module("tiny_network").tiny().state_dict(), folder / "tiny.pt")
    card = folder / "tiny.toml"
    card.write_text(
        'architecture = "tiny_network:tiny"\nweights = "tiny.pt"\nnum_classes = 10\n'
        "[input]\nsize = 224\n"
    )
    return card


def bare_forward(card: Path, count: int) -> dict[str, float]:
    """Images a second of the network alone; the best of precisions, batches and threading."""
    rates = []
    for dtype in (torch.float32, torch.bfloat16):
        embedder = load_embedder(resolve(card), dtype=dtype)
        size = embedder.view.size
        pixels = np.random.default_rng(0).integers(256, size=(count, size, size, 3), dtype=np.uint8)
        for batch in (32, 64):
            tensors = map_batches(lambda x: x, pixels[:batch], embedder.input, dtype=dtype)
            with torch.inference_mode():
                embedder.encode(tensors[0])
                began = time.perf_counter()
                for _ in range(count // batch):
                    embedder.encode(tensors[0])
            rates.append(count // batch * len(tensors[0]) / (time.perf_counter() - began))
    return {"running": max(rates)}


def decode_files(files: list[Path], view: View) -> int:
    return sum(decode(file.read_bytes(), view).width > 0 for file in files)


def bare_decoding(folder: Path, view: View) -> dict[str, float]:
    """Images a second of reading and decoding in as many processes as build-index uses."""
    files = sorted(folder.iterdir())
    slices = [files[i : i + 256] for i in range(0, len(files), 256)]
    with ProcessPoolExecutor(default_workers(), mp_context=process_context()) as pool:
        list(pool.map(partial(decode_files, view=view), [files[:8]] * 8))  # all are started
        began = time.perf_counter()
        done = sum(pool.map(partial(decode_files, view=view), slices))
    return {"running": done / (time.perf_counter() - began)}


def build(folder: Path, card: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as workspace:
        began = time.perf_counter()
        command = [SCRIPT, "build-index", folder, "-w", workspace, "--embedder", card, "--json"]
        path = {**os.environ, "PYTHONPATH": str(card.parent)}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=path)
        seconds = time.perf_counter() - began
    summary = json.loads(done.stdout)
    assert summary["images"] == len(list(folder.iterdir())), summary
    return {"running": summary["images_per_s"], "whole": summary["images"] / seconds}


def clip_retrieval(program: Path, folder: Path, weights: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as output:
        began = time.perf_counter()
        command = [program, "inference", "--input_dataset", folder, "--output_folder", output]
        command += ["--clip_model", f"open_clip:{MODEL}/{weights}", "--enable_text", "False"]
        command += ["--enable_metadata", "False", "--num_prepro_workers", str(default_workers())]
        command += ["--batch_size", "64", "--use_jit", "False", "--enable_wandb", "False"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        count = sum(len(np.load(file)) for file in Path(output).rglob("*.npy"))
        stats = [json.loads(file.read_text()) for file in Path(output, "stats").iterdir()]
    assert count == len(list(folder.iterdir())), done.stderr
    running = sum(one["end_time"] - one["start_time"] for one in stats)
    return {"running": count / running, "whole": count / seconds}


def table(name: str, contestants: dict[str, Callable[[], dict[str, float]]], runs: int) -> None:
    found: dict[str, list[dict[str, Any]]] = {contestant: [] for contestant in contestants}
    for _ in range(runs):
        for contestant, run in contestants.items():
            found[contestant].append(run())
            print(f"  {name}: {contestant} {found[contestant][-1]}", file=sys.stderr, flush=True)
    ours = statistics.median(run["running"] for run in found["kdcurate build-index"])
    print(f"\n{name}\n\n| | images/s running | spread | whole run | build-index / this |")
    print("|---|---|---|---|---|")
    for contestant, measured in found.items():
        running = [run["running"] for run in measured]
        whole = [run["whole"] for run in measured if "whole" in run]
        print(
            f"| {contestant} | {statistics.median(running):.1f} "
            f"| {min(running):.1f} to {max(running):.1f} "
            f"| {f'{statistics.median(whole):.1f}' if whole else ''} "
            f"| {ours / statistics.median(running):.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="the clip-retrieval program")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--small-images", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=("a", "b"))
    options = parser.parse_args()
    print(
        f"{date.today()}, torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        if options.only != "b":
            vit = write_card(here)
            write_images(here / "large", options.images)
            contestants: dict[str, Callable[[], dict[str, float]]] = {
                "bare forward pass": partial(bare_forward, vit, 128),
                "bare decoding": partial(bare_decoding, here / "large", View(224, None, "bicubic")),
                "kdcurate build-index": partial(build, here / "large", vit),
            }
            if options.peer:
                contestants["clip-retrieval inference"] = partial(
                    clip_retrieval, options.peer, here / "large", here / "vit.pt"
                )
            table(f"(a) {MODEL}, {options.images} images", contestants, options.runs)
        if options.only != "a":
            tiny = write_tiny(here)
            write_images(here / "small", options.small_images)
            contestants = {
                "bare forward pass": partial(bare_forward, tiny, 2048),
                "bare decoding": partial(bare_decoding, here / "small", View(224)),
                "kdcurate build-index": partial(build, here / "small", tiny),
            }
            table(f"(b) one convolution, {options.small_images} images", contestants, options.runs)


if __name__ == "__main__":
    main()

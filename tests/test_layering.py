"""House rules read off the source: imports go down, loading is safe, files are small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
BELOW = {"curate": {"distill", "index"}, "distill": {"index"}, "index": set[str]()}
NETWORK_LIBRARIES = {"torch", "torchvision", "timm", "open_clip", "lightning_fabric"}
LONGEST_FILE = 300

SOURCES = [
    pytest.param(package, path, id=str(path.relative_to(PROJECT)))
    for package in BELOW
    for path in sorted((PROJECT / package).rglob("*.py"))
]


def imported_packages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every absolute import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]


def unsafe_loads(tree: ast.AST) -> Iterator[int]:
    """Lines that call torch.load, under whatever name, without a literal weights_only=True."""
    modules, functions = {"torch"}, set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {a.asname for a in node.names if a.name == "torch" and a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module in {"torch", "torch.serialization"}:
            functions |= {a.asname or a.name for a in node.names if a.name == "load"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(value=ast.Name(id=owner), attr="load") if owner in modules:
                pass
            case ast.Name(id=name) if name in functions:
                pass
            case _:
                continue
        if not any(
            keyword.arg == "weights_only"
            and isinstance(keyword.value, ast.Constant)
            and keyword.value.value is True
            for keyword in node.keywords
        ):
            yield node.lineno


@pytest.mark.parametrize(("package", "path"), SOURCES)
def test_imports_only_go_down(package: str, path: Path) -> None:
    forbidden = set(BELOW) - BELOW[package] - {package}
    if package == "index":
        forbidden |= NETWORK_LIBRARIES
    found = list(imported_packages(ast.parse(path.read_text("utf-8"))))
    assert [(line, name) for line, name in found if name in forbidden] == []


@pytest.mark.parametrize(("package", "path"), SOURCES)
def test_torch_load_never_unpickles_code(package: str, path: Path) -> None:
    assert list(unsafe_loads(ast.parse(path.read_text("utf-8")))) == []


@pytest.mark.parametrize(("package", "path"), SOURCES)
def test_a_file_is_one_noun(package: str, path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines: split it by noun"


@pytest.mark.parametrize("package", BELOW)
def test_importing_a_package_does_not_load_torch(package: str) -> None:
    code = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import torch\ntorch.load(f, weights_only=True)", []),
        ("import torch\ntorch.load(f)", [2]),
        ("import torch\ntorch.load(f, weights_only=False)", [2]),
        ("import torch\ntorch.load(f, weights_only=safe)", [2]),
        ("import torch as t\nt.load(f)", [2]),
        ("from torch import load as read\nread(f)", [2]),
        ("import json\njson.load(f)", []),
    ],
)
def test_unsafe_loads_are_found(source: str, lines: list[int]) -> None:
    assert list(unsafe_loads(ast.parse(source))) == lines


def test_imports_inside_functions_are_found() -> None:
    tree = ast.parse("def f():\n    from curate.scores import x\n    import torch.nn as nn\n")
    assert list(imported_packages(tree)) == [(2, "curate"), (3, "torch")]

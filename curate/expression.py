"""Arithmetic over named values, as `--rank` takes it: parsed into a checked tree, never run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.metadata import PREFIX
from index.errors import UsageError, nearest

Values = NDArray[np.float64]
_OPERATORS: dict[type[ast.operator], Callable[[Values, Values], Values]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}
_OF_ONE: dict[str, Callable[[Values], Values]] = {"log": np.log, "sqrt": np.sqrt, "abs": np.abs}
_OF_MANY: dict[str, Callable[[Values, Values], Values]] = {"min": np.minimum, "max": np.maximum}
_FUNCTIONS = ", ".join((*_OF_ONE, *_OF_MANY))
_ALLOWED = f"+ - * /, parentheses, numbers, names, {PREFIX}NAME, and {_FUNCTIONS}"
_METADATA = PREFIX.rstrip(".")
_LONGEST, _DEEPEST = 1000, 60


@dataclass(frozen=True)
class Expression:
    """A checked expression; `names` are those that it mentions, in order of the alphabet."""

    text: str
    tree: ast.expr
    names: tuple[str, ...]

    def evaluate(self, values: Mapping[str, NDArray[Any]], ids: NDArray[np.int64]) -> Values:
        """Compute in float64, (n,), from a value per name and image.

        Raises:
            UsageError: a part of it is NaN or infinite; the message names the part and the image.
        """
        with np.errstate(all="ignore"):  # what comes of it is refused below
            return _evaluate(self.tree, values, ids)

    def terms(self) -> Iterator[Expression]:
        """Yield what its outermost sums add up, signs included."""
        for term in _terms(self.tree):
            yield Expression(ast.unparse(term), term, _names(term))


def parse(text: str, known: Collection[str]) -> Expression:
    """Parse an expression in `known` names, and in `metadata.NAME` of any name.

    Raises:
        UsageError: it cannot be read, has more in it than arithmetic, or a name that is not known
            (the message gives the nearest).
    """
    if not text.strip():
        raise UsageError("--rank is empty: give an expression, such as '0.6*kd3 - 0.3*bn_shift'")
    if len(text) > _LONGEST:
        raise UsageError(f"--rank has {len(text)} characters: it may have {_LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f"--rank {text!r} cannot be read: {reason}") from error
    except (RecursionError, MemoryError) as error:
        raise UsageError(f"--rank {text!r} cannot be read: it is nested too deeply") from error
    _check(tree, known)
    names = _names(tree)
    if not names:
        raise UsageError(f"--rank {text!r} names no score, so it ranks nothing")
    return Expression(text, tree, names)


def _check(node: ast.expr, known: Collection[str], depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise UsageError(f"--rank is nested more than {_DEEPEST} deep: write it with fewer terms")
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            _check_number(value)
        case ast.Attribute(value=ast.Name(id=name)) if name == _METADATA:
            pass
        case ast.Name(id=name) if name == _METADATA:
            raise UsageError(f"--rank: {name} has many keys: write {PREFIX}NAME, NAME being one")
        case ast.Name(id=name):
            if name not in known:
                raise UsageError(f"--rank: no score is called {name!r}: {nearest(name, known)}")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            _check(operand, known, depth + 1)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            _check(left, known, depth + 1)
            _check(right, known, depth + 1)
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]):
            _check_call(function, len(arguments))
            for argument in arguments:
                _check(argument, known, depth + 1)
        case _:
            raise UsageError(f"--rank: {_shown(node)} is not allowed, only {_ALLOWED}")


def _check_number(value: float) -> None:
    try:
        finite = np.isfinite(float(value))
    except OverflowError:
        finite = False
    if not finite:
        raise UsageError("--rank has a number in it that is too large")


def _check_call(function: str, count: int) -> None:
    functions = (*_OF_ONE, *_OF_MANY)
    if function not in functions:
        raise UsageError(
            f"--rank: no function is called {function!r}: {nearest(function, functions)}"
        )
    if function in _OF_ONE and count != 1:
        raise UsageError(f"--rank: {function} takes one value, not {count}")
    if function in _OF_MANY and count < 2:
        raise UsageError(f"--rank: {function} takes two values or more, not {count}")


def _shown(node: ast.expr) -> str:
    try:
        return ast.unparse(node)
    except (RecursionError, ValueError):  # too deep, or a number of thousands of digits
        return type(node).__name__


def _names(tree: ast.expr) -> tuple[str, ...]:
    inner = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    inner |= {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    names = (n for n in ast.walk(tree) if isinstance(n, (ast.Name, ast.Attribute)))
    return tuple(sorted({ast.unparse(node) for node in names if id(node) not in inner}))


def _terms(node: ast.expr, *, negative: bool = False) -> Iterator[ast.expr]:
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as operator, right=right):
            yield from _terms(left, negative=negative)
            yield from _terms(right, negative=negative != isinstance(operator, ast.Sub))
        case ast.UnaryOp(operand=operand):
            yield from _terms(operand, negative=not negative)
        case _:
            yield ast.UnaryOp(ast.USub(), node) if negative else node


def _evaluate(node: ast.expr, values: Mapping[str, NDArray[Any]], ids: NDArray[np.int64]) -> Values:
    match node:
        case ast.Constant(value=value):
            return np.full(len(ids), float(value))  # type: ignore[arg-type]
        case ast.Name() | ast.Attribute():
            found = values[ast.unparse(node)].astype(np.float64)
        case ast.UnaryOp(operand=operand):
            found = -_evaluate(operand, values, ids)
        case ast.BinOp(left=left, op=operator, right=right):
            sides = (_evaluate(side, values, ids) for side in (left, right))
            found = _OPERATORS[type(operator)](*sides)
        case ast.Call(func=ast.Name(id=function), args=arguments):
            inputs = [_evaluate(argument, values, ids) for argument in arguments]
            found = (
                _OF_ONE[function](*inputs)
                if function in _OF_ONE
                else reduce(_OF_MANY[function], inputs)
            )
        case _:
            raise AssertionError(f"unchecked: {ast.dump(node)}")
    _refuse_strange(found, node, ids)
    return found


def _refuse_strange(found: Values, node: ast.expr, ids: NDArray[np.int64]) -> None:
    strange = ~np.isfinite(found)
    if strange.any():
        at = int(strange.argmax())
        raise UsageError(f"--rank: {ast.unparse(node)} is {found[at]} for image {ids[at]}")

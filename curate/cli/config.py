"""kdcurate.toml: the whole way in one file, each of its tables the options of one command."""

from __future__ import annotations

import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from index.errors import DataError, UsageError, nearest

STEPS = ("build-index", "select", "distill", "evaluate", "card")
# What `run` itself knows, or what makes no sense in a file.
_OWN = {"workspace", "sources", "manifest", "network", "output", "json", "dry_run", "help"}
_OWN |= {"preset", "keep_images"}  # of methods that make their own images, which `run` does not do
_COMMON = ("workspace", "seed", "device", "workers")
_GIVEN = ("teacher", "student")
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class Found:
    """What earlier steps made, for those after them; names that stand for it before they ran."""

    manifest: str = "MANIFEST"
    run: str = "RUN"
    student: str = "STUDENT.toml"


@dataclass(frozen=True)
class Config:
    """A checked file: `values` of its top level, `tables` of options, by names of parameters."""

    values: Mapping[str, Any]
    tables: Mapping[str, Mapping[str, Any]]
    commands: Mapping[str, Any]

    @property
    def expected(self) -> Found:
        """What earlier steps will have made, as far as the file gives it a name."""
        names = {
            "manifest": self.tables.get("select", {}).get("name"),
            "run": self.tables.get("distill", {}).get("run"),
        }
        return Found(**{kind: str(name) for kind, name in names.items() if name is not None})

    @property
    def steps(self) -> tuple[str, ...]:
        """The commands in their order; `evaluate` where the file says on what."""
        return tuple(step for step in STEPS if step != "evaluate" or step in self.tables)

    def places(self, step: str) -> dict[str, str]:
        """Where in the file a step's options stand, by their names without the two dashes."""
        table = self.tables.get(step, {})
        shared = {*_COMMON, *(name for name in self._given(step, Found()) if name in _GIVEN)}
        names = [field.alias for _, (_, field) in _options(self.commands[step])]
        return {name: f"{name} in [{step}]" for name in names} | {
            name: name for name in shared if name not in table
        }

    def arguments(self, step: str, found: Found) -> list[str]:
        """Return a step's command line, without the program's name."""
        taken = _parameters(self.commands[step])
        options = {name: self.values[name] for name in _COMMON if name in taken}
        options |= self._given(step, found) | dict(self.tables.get(step, {}))
        words, positional = [step], []
        for name, value in options.items():
            if taken[name].param_type_name == "argument":
                positional += value if isinstance(value, list) else [value]
            else:
                words += _words(_flag(taken[name]), value)
        return [*words, "--", *positional] if positional else words

    def command(self, step: str, found: Found) -> str:
        """Return a step's command line as a shell takes it."""
        return shlex.join(["kdcurate", *self.arguments(step, found)])

    def _given(self, step: str, found: Found) -> dict[str, Any]:
        """What the file says once, of several steps; the run's row keeps what `evaluate` tells."""
        teacher, student = self.values["teacher"], self.values["student"]
        measured_on = self.tables.get("evaluate", {}).get("data")
        return {
            "build-index": {"embedder": teacher, "sources": self.values["sources"]},
            "select": {"teacher": teacher},
            "distill": {
                "teacher": teacher,
                "student": student,
                "manifest": found.manifest,
                "evaluate_on": measured_on,
            },
            "evaluate": {"network": found.student},
            "card": {"run": found.run},
        }[step]


def read_config(path: Path, commands: Mapping[str, Any]) -> Config:
    """Read a file that says what `kdcurate run` does; `commands` are those of the command line.

    Raises:
        DataError: there is no such file.
        UsageError: it is not TOML, a key is unknown (the message gives the nearest), missing, or of
            another type.
    """
    try:
        text = path.read_text("utf-8")
        raw = tomllib.loads(text)
    except OSError as error:
        remedy = f"write one with `kdcurate init {shlex.quote(str(path))}`"
        raise DataError(f"{path}: cannot read it ({error.strerror}): {remedy}") from error
    except tomllib.TOMLDecodeError as error:
        hint = 'text stands in quotes, as strategy = "kd3"'
        raise UsageError(f"{path}: not a TOML file ({error}): mend it; {hint}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a TOML file ({error}): save it as UTF-8") from error
    model = _model(commands)
    try:
        checked = model.model_validate(raw)
    except ValidationError as error:
        raise UsageError(f"{path}{_problem(error, model, text)}") from error
    values = checked.model_dump(exclude_none=True)
    tables = {step: values.pop(_identifier(step), None) for step in STEPS}
    return Config(
        dict.fromkeys(_COMMON) | values,
        {step: table for step, table in tables.items() if table is not None},
        commands,
    )


def _model(commands: Mapping[str, Any]) -> type[BaseModel]:
    """Make the model of the file of the commands' own options, so that the two cannot differ."""
    fields: dict[str, Any] = {
        "workspace": (str, "workspace"),
        "sources": (list[str], Field(min_length=1)),
        "teacher": (str, ...),
        "student": (str, ...),
        "seed": (int | None, None),
        "device": (str | None, None),
        "workers": (int | None, None),
    }
    for step in STEPS:
        if options := dict(_options(commands[step])):
            table = create_model(step, __config__=_STRICT, **options)
            fields[_identifier(step)] = (table | None, Field(None, alias=step))
    return cast(type[BaseModel], create_model("kdcurate.toml", __config__=_STRICT, **fields))


def _options(command: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a command's table: named as its long options, typed as its function."""
    hints = get_type_hints(inspect.unwrap(command.callback))
    for name, parameter in _parameters(command).items():
        if name in _OWN or parameter.param_type_name == "argument":
            continue
        default = ... if parameter.required and name not in _GIVEN else None
        alias = _flag(parameter).removeprefix("--")
        yield name, (_type(hints[name]), Field(default, alias=alias))


def _type(hint: Any) -> Any:
    """The type of an option in the file: what is text on a command line may be a number here."""
    optional = [one for one in get_args(hint) if one is not type(None)]
    kind = optional[0] if type(None) in get_args(hint) else hint
    if get_origin(kind) is list:
        return list[str]
    return kind if kind in (bool, int, float) else str | int | float


def _parameters(command: Any) -> dict[str, Any]:
    return {parameter.name: parameter for parameter in command.params}


def _identifier(step: str) -> str:
    return step.replace("-", "_")


def _flag(parameter: Any) -> str:
    """The long form of an option, as it is typed."""
    return str(max(parameter.opts, key=len))


def _words(flag: str, value: Any) -> list[str]:
    """An option with its value in one word, so that no value is taken for an option."""
    if isinstance(value, bool) or value is None:
        return [flag] if value else []
    values = value if isinstance(value, list) else [value]
    return [f"{flag}={one}" for one in values]


def _problem(error: ValidationError, model: type[BaseModel], text: str) -> str:
    """Say in which line which key is wrong, and what may stand there."""
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"]]
    table = place[0] if place[0] in STEPS and len(place) > 1 else None
    key = place[1] if table else place[0]
    line = _line_of(text, table, key)
    where = f", line {line}: " if line else ": "
    if problem["type"] == "extra_forbidden":
        known = nearest(key, _keys(model, table))
        return f"{where}there is no key {key!r}{f' in [{table}]' if table else ''}: {known}"
    where += f"[{table}] " if table else ""
    if problem["type"] == "missing":
        return f"{where}{key} is missing: add a line {key} = ..."
    return f"{where}{key} is {problem['input']!r}: {problem['msg'].removeprefix('Input ')}"


def _keys(model: type[BaseModel], table: str | None) -> list[str]:
    fields = model.model_fields
    if table is not None:
        annotation: Any = fields[_identifier(table)].annotation
        fields = annotation.__args__[0].model_fields
    return [field.alias or name for name, field in fields.items()]


def _line_of(text: str, table: str | None, key: str) -> int | None:
    """The line of a key; None where it is written in a way that only TOML's parser sees."""
    current = None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*[\"']?([^\]\"']+?)[\"']?\s*\]", line):
            current = header[1]
            if table is None and current == key:
                return number
        elif current == table and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return None

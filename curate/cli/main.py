"""The entry point: commands, exit codes, and errors in one line."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Annotated, Any, NoReturn

import typer

from curate.cli import (
    build,
    card,
    compare,
    duplicates,
    evaluate,
    export,
    inspect,
    manifests,
    report,
    run,
    search,
    select,
    train,
)
from curate.cli.output import note
from index import __version__
from index.errors import KdcurateError, UsageError

NAME = "kdcurate"
INTERRUPTED = 130
_SPEAKING_S = 30.0  # torchrun ends the others sooner, even on a busy machine

app = typer.Typer(
    name=NAME,
    help="Turn a crawl of unlabelled images into the training set from which a student learns "
    "what its teacher knows.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing to do or nothing selected.",
)
run.register(app)
build.register(app)
duplicates.register(app)
select.register(app)
train.register(app)
evaluate.register(app)
compare.register(app)
export.register(app)
card.register(app)
search.register(app)
inspect.register(app)
manifests.register(app)
report.register(app)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


NEXT_STEPS = """\
kdcurate turns a crawl of unlabelled images into the training set from which a student learns what
its teacher knows. Three ways to go on:

  kdcurate demo                  the whole story, offline, on data that it makes itself (2 minutes)
  kdcurate init                  writes kdcurate.toml: say in it where your teacher and crawl are;
                                 `kdcurate run kdcurate.toml` then goes the whole way
  kdcurate sql "SELECT why, count(*) FROM decisions GROUP BY ALL" -w WORKSPACE
                                 asks why images were taken or left; `kdcurate schema` has the rest

`kdcurate --help` lists all commands, `kdcurate doctor` says what is installed and what is missing.
"""


def _refuse_torchrun(command: str | None) -> None:
    """Only a training divides: of any other command each process would do all of it.

    Raises:
        UsageError: torchrun started several processes of another command.
    """
    count = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if count > 1 and command != "distill":
        raise UsageError(f"{command} runs in one process: start it without torchrun")


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool,
        # Eager, or a command would be missed before the version is printed.
        typer.Option("--version", help="Print it.", is_eager=True, callback=_print_version),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,  # noqa: ARG001
) -> None:
    """Take what holds for every command; `--debug` is read before parsing, in `main`."""
    _refuse_torchrun(context.invoked_subcommand)
    if context.invoked_subcommand is None:
        sys.stdout.write(NEXT_STEPS)


def main() -> None:
    """Run a command and turn every expected failure into one line and an exit code."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    # Accepted before and after the command, where people type it.
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        signal.signal(signal.SIGINT, _interrupt)
        # Not standalone: typer would say in a box of five lines what fits into one.
        code = app(args=arguments, prog_name=NAME, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except _Interrupted:
        _end_interrupted()
    except BrokenPipeError:
        sys.exit(0)  # the reader, such as head, has seen enough
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # which typer makes an error of
            sys.exit(0)
        raise
    except Exception as error:
        if _pressed:  # in the middle of a query, DuckDB puts an error of its own in its place
            _end_interrupted()
        _let_the_first_speak()
        if hasattr(error, "format_message"):
            sys.exit(_misused(error))
        if debug:
            raise
        if isinstance(error, KdcurateError):
            note(f"kdcurate: {error}")
            sys.exit(error.exit_code)
        kind = type(error).__name__
        note(f"kdcurate: {kind}: {' '.join(str(error).split())} (--debug shows where)")
        sys.exit(1)


def _let_the_first_speak() -> None:
    """Under torchrun, wait to be ended where all processes fail alike: one line is enough."""
    if os.environ.get("TORCHELASTIC_RUN_ID") and os.environ.get("RANK", "0") != "0":
        time.sleep(_SPEAKING_S)


def _misused(error: Any) -> int:
    """Show a usage error of typer's, whose classes differ between its versions; return its code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else NAME
        note(f"{NAME}: {error.format_message().rstrip('.?')}: see `{command} --help`")
    code: int = error.exit_code
    return code


class _Interrupted(BaseException):
    """Ctrl-C; not KeyboardInterrupt, which typer would end with a word of its own."""


_pressed: list[int] = []


def _interrupt(signum: int, frame: object) -> None:  # noqa: ARG001
    _pressed.append(signum)
    raise _Interrupted


def _end_interrupted() -> NoReturn:
    note("interrupted: the same command run again goes on from here")
    sys.stdout.flush()
    os._exit(INTERRUPTED)  # or Python would wait for the threads that still embed


if __name__ == "__main__":
    main()

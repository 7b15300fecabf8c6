"""The frame of every script: options that all share, output, and how errors end.

A script defines a function with typer's annotations and ends with `run(function)`. What the user can solve ends in one
message without a traceback and in an exit code of `operations/errors.py`; a function may also return an `ExitCode`.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from operations.errors import ExitCode, ToolkitError, UsageError
from operations.inventory import STACK_NAME

DEBUG = "REDIS_TOPOLOGIES_DEBUG"
"""Set to 1 in the environment, this shows the traceback of every error."""
WIDTH_WITHOUT_TERMINAL = 120


class _Console(Console):
    """A console that leaves a closed pipe to `exit_code`."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def make_console(*, stderr: bool = False) -> Console:
    """A console that neither colours words by itself nor breaks lines for a pipe."""
    console = _Console(stderr=stderr, highlight=False, soft_wrap=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def print_json(data: Any) -> None:
    """Data for programs, on stdout, in full and without colours."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _stack_name(value: str) -> str:
    if not STACK_NAME.fullmatch(value):
        raise UsageError(f"--stack is {value!r}, which is no stack name; use up to 40 lower-case letters, digits and hyphens")
    return value


StackOption = Annotated[
    str, typer.Option("--stack", metavar="NAME", help="The stack, for example cluster.", callback=_stack_name, show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


def run(command: Callable[..., Any] | typer.Typer) -> NoReturn:
    """Run a script's function, or an app of several commands, with the arguments of this process; ends the process."""
    signal.signal(signal.SIGTERM, _interrupt)
    raise SystemExit(exit_code(command, sys.argv[1:], Path(sys.argv[0]).name))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a script like Ctrl-C does, so that whatever has to be put back in order is."""
    raise KeyboardInterrupt


def exit_code(command: Callable[..., Any] | typer.Typer, arguments: Sequence[str], name: str = "script") -> int:
    """Run a command and turn its end into an exit code, with one message on stderr where something went wrong."""
    try:
        ended = _invoke(_app(command), arguments, name)
        sys.stdout.flush()
    except ToolkitError as error:
        return _tell(str(error), error.exit_code)
    except typer.TyperException as error:
        return _tell(f"{error.format_message().rstrip('.')}; see {name} --help", ExitCode.USAGE)
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # Whoever read the output has gone; nothing must be written any more, not even when Python closes its files.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        return _tell("interrupted", ExitCode.INTERRUPTED)
    except Exception as error:
        kind = type(error).__name__
        return _tell(f"{name} broke: {kind}: {error}\nRun it again with {DEBUG}=1 to see where.", ExitCode.BROKEN)
    return ended


def _app(command: Callable[..., Any] | typer.Typer) -> typer.Typer:
    if isinstance(command, typer.Typer):
        return command
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(command)
    return app


def _invoke(app: typer.Typer, arguments: Sequence[str], name: str) -> int:
    ended = typer.main.get_command(app).main(list(arguments), prog_name=name, standalone_mode=False)
    if ended == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt  # typer makes a number of it
    return int(ended) if isinstance(ended, int) else ExitCode.OK


def _tell(message: str, code: ExitCode) -> int:
    if os.environ.get(DEBUG):
        traceback.print_exc()
    make_console(stderr=True).print(message, markup=False, style="red" if code != ExitCode.INTERRUPTED else None)
    return code

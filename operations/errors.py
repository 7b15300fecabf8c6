"""One shallow tree of exceptions; each carries the exit code that scripts end with.

The codes: 0 as declared; 10 objective missed or check failed; 20 unknown (could not tell); 30 the tool itself broke;
64 bad usage; 65 invalid spec or data; 69 engine, stack or repository not reachable; 75 busy, try later; 130 interrupted.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes shared by every script."""

    OK = 0
    MISSED = 10
    UNKNOWN = 20
    BROKEN = 30
    USAGE = 64
    INVALID = 65
    UNREACHABLE = 69
    BUSY = 75
    INTERRUPTED = 130


class ToolkitError(Exception):
    """An error whose message is meant for the user: what was given, why it cannot work, what to do."""

    exit_code: ExitCode = ExitCode.BROKEN


class CheckFailed(ToolkitError):
    """Something was measured and is not as declared."""

    exit_code = ExitCode.MISSED


class Undetermined(ToolkitError):
    """The answer could not be found out, which is not success."""

    exit_code = ExitCode.UNKNOWN


class UsageError(ToolkitError):
    """The command line cannot be understood or does not fit the stack."""

    exit_code = ExitCode.USAGE


class HoldsData(UsageError):
    """The target has keys that nobody gave up."""


class InvalidInput(ToolkitError):
    """A spec, an inventory or other data is not valid; `problems` lists every one of them."""

    exit_code = ExitCode.INVALID

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((message, *(f"  - {problem}" for problem in problems))))
        self.problems = problems


class Unreachable(ToolkitError):
    """The Docker engine, the stack, a node or a repository does not answer."""

    exit_code = ExitCode.UNREACHABLE


class Busy(ToolkitError):
    """Somebody else holds the lock; trying later can work."""

    exit_code = ExitCode.BUSY


class NotOurs(ToolkitError):
    """A server, container or network answers that does not belong to this stack; nothing was written to it."""

    exit_code = ExitCode.UNREACHABLE

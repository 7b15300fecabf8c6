#!/usr/bin/env python3
"""Opens the engine's own client on a node of a running stack, logged in; with arguments, runs one command."""

import os
import shutil
import subprocess
import sys
from typing import Annotated, NoReturn

import typer

from operations.clients import primary_name
from operations.connect import Fleet, endpoint
from operations.errors import CheckFailed, ToolkitError, Unreachable
from operations.inventory import Access, NodeEntry, load_access
from scripts._command import StackOption, run

PASSWORD_VARIABLES = ("REDISCLI_AUTH", "VALKEYCLI_AUTH")
"""Where the clients look for the password, so that it stands in no argument list."""
CLIENTS = ("redis-cli", "valkey-cli")


def client_options(access: Access, node: NodeEntry, user: str, address: tuple[str, int] | None) -> list[str]:
    """Options of the engine's client: where (None: on the node itself), as whom, following the slots of a cluster."""
    where = ["-h", address[0], "-p", str(address[1])] if address else ["-p", str(node.port)]
    follow = ["-c"] if access.inventory.topology == "cluster" else []
    return [*where, "--user", user, "--no-auth-warning", *follow]


def exec_command(access: Access, node: NodeEntry, user: str, arguments: list[str], terminal: bool) -> list[str]:
    """The docker command that runs the client inside the node; names of variables only, no password."""
    variables = [word for name in PASSWORD_VARIABLES for word in ("--env", name)]
    quiet = ["--env", "REDISCLI_HISTFILE=/dev/null", "--env", "VALKEYCLI_HISTFILE=/dev/null"]
    find = f'exec "$(command -v {CLIENTS[0]} || command -v {CLIENTS[1]})" "$@"'
    options = client_options(access, node, user, None)
    mode = ["-it"] if terminal else ["-i"]
    return ["docker", "exec", *mode, *variables, *quiet, node.container, "sh", "-c", find, "client", *options, *arguments]


def default_node(access: Access) -> str:
    """The node to talk to when none is named: the primary, else any that answers (in a cluster every node redirects)."""
    if access.inventory.topology != "cluster":
        try:
            return primary_name(access)
        except CheckFailed:
            pass  # no primary or two of them: a person has to look, wherever
    with Fleet(access, access.inventory.data_nodes) as fleet:
        answers = fleet.each(lambda link: link.ask("PING"))
    alive = [name for name, answer in answers.items() if not isinstance(answer, ToolkitError)]
    return alive[0] if alive else access.inventory.data_nodes[0].name


def require_running(container: str) -> None:
    """Raise Unreachable unless the container runs."""
    command = ["docker", "inspect", "--format", "{{.State.Running}}", container]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        raise Unreachable("docker is not on PATH; run `make setup`, or use --host with a client of your own") from None
    except subprocess.TimeoutExpired:
        raise Unreachable("the Docker engine did not answer within 20 s; see `docker info`") from None
    if answer.returncode != 0:
        raise Unreachable(f"container {container} cannot be inspected: {' '.join(answer.stderr.split())}")
    if answer.stdout.strip() != "true":
        raise Unreachable(f"container {container} is not running; see `docker logs {container}`, then run `make up`")


def main(
    stack: StackOption,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND …]", help="A command; without one the client is interactive.")
    ] = None,
    node: Annotated[str | None, typer.Option(metavar="NAME", help="The node; default: the primary.", show_default=False)] = None,
    user: Annotated[str, typer.Option(help="The user to log in as.")] = "admin",
    host: Annotated[
        bool, typer.Option("--host", help="Use this machine's client and the published port instead of the node's own client.")
    ] = False,
) -> None:
    """Open the engine's own client, logged in; with arguments, run one command."""
    access = load_access(stack)
    entry = access.inventory.node(node or default_node(access))
    environment = {**os.environ, **dict.fromkeys(PASSWORD_VARIABLES, access.credentials.password(user))}
    words = list(arguments or [])
    if host:
        client = next((found for name in CLIENTS if (found := shutil.which(name))), None)
        if client is None:
            raise Unreachable(f"neither {' nor '.join(CLIENTS)} is on PATH; install redis-tools, or leave out --host")
        _become([client, *client_options(access, entry, user, endpoint(entry)), *words], environment)
    require_running(entry.container)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    _become(exec_command(access, entry, user, words, terminal), environment)


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Replace this process, so that Ctrl-C and the exit code are the client's own."""
    sys.stdout.flush()
    os.execvpe(command[0], command, environment)  # noqa: S606 - a fixed program, no shell


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command(context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})(main)

if __name__ == "__main__":
    run(app)

#!/usr/bin/env python3
"""Takes a stack down: repairs after an interrupted run, then `pulumi destroy`. Data volumes are kept unless asked otherwise.

usage: scripts/down.py --stack STACK [--data keep|delete] [options of pulumi destroy]
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import docker
import typer
from docker.errors import APIError, NotFound

from operations.errors import ExitCode, InvalidInput, ToolkitError
from scripts import pulumi_cli, stack_files
from scripts._command import StackOption, run
from scripts.recover import recover, volumes_of
from topologies.engine import connect

Data = Literal["keep", "delete"]


def delete_volumes(client: docker.DockerClient, names: Sequence[str]) -> None:
    for name in names:
        try:
            client.volumes.get(name).remove()
        except NotFound:
            continue
        except APIError as error:
            raise ToolkitError(f"the volume {name} cannot be deleted: {error.explanation or error}") from None


def settle_volumes(stack: str, data: Data) -> None:
    """Delete the data volumes, or say which ones were kept and how to delete them."""
    client = connect()
    names = volumes_of(client, stack)
    if not names:
        return
    if data == "delete":
        delete_volumes(client, names)
        print(f"down: deleted the volumes {', '.join(names)}")
        return
    print(f"down: kept the volumes {', '.join(names)}; the next `make up STACK={stack}` adopts them")
    print(f"down: to delete them: make down STACK={stack} DATA=delete")


def nothing_to_do(stack: str) -> None:
    """Raises InvalidInput when the name stands for nothing at all: it is a mistake rather than a stack that is down."""
    known = stack_files.possible_stacks()
    if stack not in known:
        raise InvalidInput(f"there is no stack {stack}; use one of: {', '.join(known) or 'none yet'}")
    print(f"down: stack {stack} is not up, there is nothing to take down")


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def main(
    context: typer.Context,
    stack: StackOption,
    data: Annotated[Data, typer.Option(help="What becomes of the data volumes.")] = "keep",
) -> int:
    """Take a stack down; other options go to `pulumi destroy`."""
    if not pulumi_cli.exists(stack):
        nothing_to_do(stack)
        settle_volumes(stack, data)
        return ExitCode.OK
    recover(stack)
    code = pulumi_cli.finished(pulumi_cli.visible(["destroy", "--yes", *context.args], stack), "down", stack)
    if code == ExitCode.OK:
        settle_volumes(stack, data)
    return code


if __name__ == "__main__":
    run(app)

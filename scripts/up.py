#!/usr/bin/env python3
"""Brings a stack up: its file from the template, repairs after an interrupted run, the image it needs, then `pulumi up`.

usage: scripts/up.py --stack STACK [options of pulumi up]
"""

from collections.abc import Sequence

import typer

from operations.converge import converge
from operations.errors import ExitCode, InvalidInput
from operations.inventory import load_access
from scripts import leftovers, pulumi_cli, stack_files
from scripts._command import StackOption, run
from scripts.leftovers import State
from scripts.recover import labelled, recover
from topologies.engine import connect
from topologies.load import load_spec
from topologies.plan import image_of

OWN_IMAGES = "redis-topologies/node:"
AGENT_IMAGE = "client"
IMAGES_STEP = pulumi_cli.ROOT / "toolchain" / "steps" / "images.sh"
IMAGES_TABLE = pulumi_cli.ROOT / "images" / "images.tsv"


def own_images() -> tuple[str, ...]:
    """Names of the node images that this repository can build."""
    rows = (line.split("\t") for line in IMAGES_TABLE.read_text().splitlines() if line and not line.startswith("#"))
    return tuple(row[0] for row in rows if row[1].startswith(OWN_IMAGES))


def own_image_name(image: str, known: Sequence[str]) -> str | None:
    """The name under which we build `image`, None for one from elsewhere (Pulumi pulls it); raises InvalidInput for neither."""
    if not image.startswith(OWN_IMAGES):
        return None
    name = image.removeprefix(OWN_IMAGES)
    if name not in known:
        raise InvalidInput(
            f"there is no image for {name.replace('-', ' ')}; use {', '.join(one.replace('-', ' ') for one in known)}, "
            f"or name any other image with engine.image"
        )
    return name


def ensure_image(stack: str) -> None:
    """The spec is read here too: an invalid one is refused before Pulumi starts."""
    values = stack_files.settings(stack)
    overrides = {key: value for key, value in values.items() if key != stack_files.SPEC_KEY}
    spec = load_spec(stack_files.spec_path(stack, values), overrides)
    names = [
        name for name in (own_image_name(image_of(spec), own_images()), AGENT_IMAGE if spec.backup.needs_agent else None) if name
    ]
    if not names:
        return
    code = pulumi_cli.run_visible(["bash", str(IMAGES_STEP), *names])
    if code != 0:
        # The step has told why; only the code is passed on.
        raise SystemExit(code if code > 0 else ExitCode.INTERRUPTED)


def lying_containers(state: State) -> tuple[str, ...]:
    """Containers that the state takes for running and that do not run: Pulumi alone would not look."""
    alive = {entry["Id"] for entry in connect().api.containers()}
    return leftovers.not_running(state, alive)


def start(stack: str, names: Sequence[str]) -> tuple[str, ...]:
    """Start those that were only stopped; those that are gone are left to `pulumi up --refresh`, which makes them anew."""
    client = connect()
    standing = {entry["Names"][0].lstrip("/"): entry["Id"] for entry in client.api.containers(all=True, filters=labelled(stack))}
    started = tuple(name for name in names if name in standing)
    for name in started:
        print(f"up: starting {name}, which was stopped", flush=True)
        client.api.start(standing[name])
    for name in names:
        if name not in standing:
            print(f"up: {name} is gone; Pulumi is asked to look at everything again", flush=True)
    return started


def select(stack: str) -> None:
    """Select the stack, created when the backend does not have it."""
    try:
        pulumi_cli.query(["stack", "select"], stack)
    except pulumi_cli.NoStack:
        if stack_files.forget_salt(stack):
            print(f"up: the backend has no stack {stack}; it starts with the passphrase of now")
        pulumi_cli.query(["stack", "select", "--create"], stack)


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def main(context: typer.Context, stack: StackOption) -> int:
    """Bring a stack up; other options go to `pulumi up`."""
    if stack_files.prepare(stack):
        print(f"up: made {stack_files.GENERATED}/{stack_files.file_name(stack)}", flush=True)
    ensure_image(stack)
    select(stack)
    lying = lying_containers(recover(stack))
    restarted = start(stack, lying)
    refresh = ["--refresh"] if len(restarted) < len(lying) else []
    # The inventory is an output of a hundred lines for programs; people have the commands named below.
    code = pulumi_cli.visible(["up", "--yes", "--suppress-outputs", *refresh, *context.args], stack)
    if code == ExitCode.OK and restarted:
        converge(load_access(stack), report=lambda line: print(f"up: {line}", flush=True))
    if pulumi_cli.finished(code, "up", stack) == ExitCode.OK:
        print(f"up: stack {stack} is up; see it with `make status STACK={stack}`, prove it with `make verify STACK={stack}`")
    return code


if __name__ == "__main__":
    run(app)

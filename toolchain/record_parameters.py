"""Ask real servers which parameters they know, and write configs/parameters/<engine>-<version>.json.

Run with the images as arguments, `python toolchain/record_parameters.py redis-8.0 valkey-8.1`, or without any for every
image of the toolkit that stands on the Docker engine. Each parameter is set to its own value, which tells whether it can
change at run time, and to impossible values, whose refusal tells type, range or choices. Parameters that are fixed at boot
are tried by starting a second server in the same container, which refuses to start and says why.
"""

import contextlib
import json
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import redis

from topologies.parameters import OWNED

TARGET = Path(__file__).resolve().parent.parent / "configs" / "parameters"
REPOSITORY = "redis-topologies/node"
IMPOSSIBLE = ("garbage()", "9223372036854775807", "0", "-2")
"""Values that between them make every typed parameter say what it takes."""
OLD_WORDS = ("slave", "master", "ziplist", "_", "lua-")
"""Of two names of one parameter, the one with such a word is the older."""
BOOT_SECONDS = 3
MOVING = ("replica-priority", "cluster-allow-replica-migration")
"""Set by the toolkit for the moment of a switchover or of a move of slots; their values are nobody's drift."""


@contextlib.contextmanager
def running(image: str) -> Iterator[Any]:
    """A bare server from `image`, removed afterwards."""
    server = "valkey-server" if "valkey" in image else "redis-server"
    client = docker.from_env()
    command = [server, "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]  # noqa: S104 - for this machine alone
    container = client.containers.run(image, command, detach=True, name=f"record-parameters-{time.time_ns()}")
    try:
        yield container
    finally:
        container.remove(force=True)


def connect(container: Any) -> Any:
    """A connection to the server in the container, on its own address, as soon as it answers."""
    container.reload()
    address = next(iter(container.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"]
    connection: Any = redis.Redis(address, decode_responses=True)
    deadline = time.monotonic() + 10
    while True:
        try:
            connection.ping()
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return connection


def answer(connection: Any, *pairs: str) -> str:
    """'' when CONFIG SET took the pairs, else the reason of the refusal."""
    try:
        connection.execute_command("CONFIG", "SET", *pairs)
    except redis.RedisError as error:
        return str(error).rpartition(" - ")[2]
    return ""


def boot_answer(container: Any, server: str, name: str, value: str) -> str:
    """Why a second server does not start with this value; '' when it does (it is ended after some seconds)."""
    command = ["timeout", str(BOOT_SECONDS), server, "--port", "0", "--save", "", f"--{name}", value]
    _, output = container.exec_run(command, workdir="/tmp")  # noqa: S108 - inside the container
    text = output.decode(errors="replace")
    if "FATAL CONFIG FILE ERROR" not in text:
        return ""
    return str(text.strip().splitlines()[-1])


def describe(answers: list[str]) -> dict[str, Any]:
    """Type, range and choices from what the server said to impossible values."""
    text = "\n".join(answers)
    if "must be 'yes' or 'no'" in text:
        return {"type": "flag"}
    if choices := re.search(r"must be one of the following: (.*)", text):
        return {"type": "choice", "choices": choices[1].split(", ")}
    kind = (
        "memory" if "memory value" in text
        else "memory-or-percent" if "memory or percent value" in text
        else "octal" if "octal number" in text
        else "integer" if "parsed into an integer" in text
        else "text"
    )  # fmt: skip
    found: dict[str, Any] = {"type": kind}
    if limits := re.search(r"must be between (-?\d+) and (-?\d+) inclusive", text):
        found["range"] = [int(limits[1]), int(limits[2])]
    return found


def other_value(value: str, known: dict[str, Any]) -> str:
    """A possible value that is not `value`."""
    if known["type"] == "flag":
        return "no" if value == "yes" else "yes"
    if known["type"] == "choice":
        return next(str(choice) for choice in known["choices"] if choice != value)
    if known["type"] == "text":
        return "other"
    return str(int(value) - 1 if int(value) == known.get("range", (0, None))[1] else int(value) + 1)


def aliases(connection: Any, values: dict[str, str], parameters: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Older name -> newer name: who else changes when a parameter with an old word in its name is changed."""
    found = {}
    for name, value in values.items():
        if not any(word in name for word in OLD_WORDS):
            continue
        newer = [name.replace("_", "-").replace("slave", "replica")]
        if parameters[name]["live"]:
            if answer(connection, name, other_value(value, parameters[name])):
                continue
            now = connection.config_get("*")
            newer = [other for other, before in values.items() if other != name and now[other] != before]
            answer(connection, name, value)
        for other in newer:
            if other in values and not any(word in other for word in OLD_WORDS):
                found[name] = other
    return found


def record(image: str) -> dict[str, Any]:
    """Everything about one image, ready to be written."""
    server = "valkey-server" if "valkey" in image else "redis-server"
    with running(image) as container:
        connection = connect(container)
        info = connection.info("server")
        values = dict(sorted(connection.config_get("*").items()))
        parameters: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            refusal = answer(connection, name, value)
            if "immutable" in refusal or "protected" in refusal:
                parameters[name] = {"live": False}
                continue
            answers = []
            for impossible in IMPOSSIBLE:
                answers.append(answer(connection, name, impossible))
                if not answers[-1] and (refusal := answer(connection, name, value)) and "bind" not in name:
                    print(f"{image}: {name} could not be set back: {refusal}", file=sys.stderr)
            parameters[name] = {"live": True, **describe(answers)}
        old = aliases(connection, values, parameters)
        fixed = [name for name in values if not parameters[name]["live"] and name not in old]
        with ThreadPoolExecutor(4) as pool:
            asked = {
                name: [pool.submit(boot_answer, container, server, name, impossible) for impossible in IMPOSSIBLE]
                for name in fixed
            }
            for name, futures in asked.items():
                parameters[name] |= describe([future.result() for future in futures])
    for name, value in values.items():
        if name not in (*OWNED, *MOVING, *old) and not name.startswith("tls-"):
            parameters[name]["default"] = value
    for name, newer in old.items():
        parameters[name] = {"alias_of": newer}
    return {
        "engine": "valkey" if "valkey" in image else "redis",
        "version": str(info.get("valkey_version") or info["redis_version"]),
        "parameters": parameters,
    }


def write(target: Path, found: dict[str, Any]) -> None:
    """One parameter a line, so that a new version shows as a readable difference."""
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(known)}" for name, known in found["parameters"].items())
    head = "".join(f"  {json.dumps(key)}: {json.dumps(found[key])},\n" for key in ("engine", "version"))
    target.write_text(f'{{\n{head}  "parameters": {{\n{lines}\n  }}\n}}\n')


def main(names: list[str]) -> None:
    tags = [f"{REPOSITORY}:{name}" for name in names] or sorted(
        tag for image in docker.from_env().images.list(REPOSITORY) for tag in image.tags
    )
    TARGET.mkdir(parents=True, exist_ok=True)
    for tag in tags:
        found = record(tag)
        target = TARGET / f"{tag.partition(':')[2]}.json"
        write(target, found)
        print(f"{target.name}: {found['engine']} {found['version']}, {len(found['parameters'])} parameters")


if __name__ == "__main__":
    main(sys.argv[1:])

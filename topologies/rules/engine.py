"""Which servers can run, and parameters that undo what a topology promises."""

import re
from collections.abc import Iterator

from topologies.fields import listed
from topologies.rules.ruling import Ruling, refuse, warn
from topologies.spec import DEFAULT_VERSIONS, Spec

OWN_VERSIONS = {"redis": ("7.0", "8.0"), "valkey": ("8.1", "9.1")}
"""Engine versions that the toolkit builds images of (images/images.tsv)."""
OLDEST_VERSIONS = {"redis": (7, 0), "valkey": (7, 2)}
"""Before Redis 7.0 there is no CLUSTER ADDSLOTSRANGE and no ACL selectors; Valkey starts with 7.2."""
IMAGE = re.compile(
    r"^(?:[a-zA-Z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?P<tag>:[\w][\w.-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?$"
)
USER = re.compile(r"^(?:[a-z_][a-z0-9_-]{0,31}|\d{1,10})(?::(?:[a-z_][a-z0-9_-]{0,31}|\d{1,10}))?$")


def engine_and_image(spec: Spec) -> Iterator[Ruling]:
    engine, own = spec.engine, OWN_VERSIONS[spec.engine.name]
    oldest = OLDEST_VERSIONS[engine.name]
    if not engine.image:
        if engine.version not in own:
            all_own = listed(f"{name} {version}" for name, versions in OWN_VERSIONS.items() for version in versions)
            yield refuse(
                "engine.version",
                engine.version,
                f"but the toolkit has images of {all_own}",
                f"use {listed(own)}, or name an image in engine.image",
                "engine.name",
                "engine.image",
            )
        if engine.user not in (None, engine.name):
            yield refuse(
                "engine.user",
                engine.user,
                f"but the toolkit's own image runs its server as {engine.name}",
                "remove it, or name an image in engine.image",
                "engine.image",
            )
        return
    if tuple(map(int, engine.version.split("."))) < oldest:
        yield refuse(
            "engine.version",
            engine.version,
            f"but the toolkit needs commands of {engine.name} {oldest[0]}.{oldest[1]}",
            f"use an image with {oldest[0]}.{oldest[1]} or later, for example {DEFAULT_VERSIONS[engine.name]}",
            "engine.name",
        )
    match = IMAGE.fullmatch(engine.image)
    if match is None:
        yield refuse(
            "engine.image", engine.image, "but is not the name of an image", "write for example redis:8.0 or host:5000/redis:8.0"
        )
    elif match["digest"] is None and match["tag"] in (None, ":latest"):
        yield warn(
            "engine.image",
            engine.image,
            "so its content can change under a running stack",
            "name a version, for example redis:8.0",
        )
    user = engine.user
    if user is not None and not USER.fullmatch(user):
        yield refuse("engine.user", user, "but is not the name or number of a user", 'write for example redis or "999:999"')
    elif user is not None and user.split(":")[0] in ("root", "0"):
        yield refuse("engine.user", user, "but a node does not run as root", f"use the image's own user, mostly {engine.name}")


def traps_in_parameters(spec: Spec) -> Iterator[Ruling]:
    """Parameters that the server takes and that undo what the topology promises."""
    text = {name: str(value).lower() for name, value in spec.parameters.items()}
    flags = {name for name, value in text.items() if value in ("yes", "true")}
    off = {name for name, value in text.items() if value in ("no", "false")}
    at = "parameters."
    if spec.topology == "sentinel" and text.get("replica-priority") == "0":
        yield refuse(f"{at}replica-priority", 0, "so no replica can ever take over", "use 1 or more, or remove it", "topology")
    if spec.topology == "cluster" and spec.replica_count and "cluster-replica-no-failover" in flags:
        yield refuse(f"{at}cluster-replica-no-failover", True, "so no replica can ever take over", "remove it", "topology")
    timeout, period = text.get("repl-timeout", "60"), text.get("repl-ping-replica-period", "10")
    if timeout.isdecimal() and period.isdecimal() and int(timeout) <= int(period):
        path = "repl-timeout" if "repl-timeout" in text else "repl-ping-replica-period"
        yield refuse(
            f"{at}{path}",
            int(text[path]),
            f"but replicas are asked every {period} s and given up after {timeout} s",
            "make repl-timeout several times repl-ping-replica-period",
        )
    if "no-appendfsync-on-rewrite" in flags and spec.uses_aof:
        yield warn(
            f"{at}no-appendfsync-on-rewrite",
            True,
            "so nothing reaches the disk while the file is rewritten",
            "remove it to keep the promise of persistence.aof.fsync",
            "persistence.policy",
        )
    if "aof-load-truncated" in off and spec.uses_aof:
        yield warn(
            f"{at}aof-load-truncated",
            False,
            "so a node whose machine lost power in the middle of a write does not start",
            "remove it",
        )
    if text.get("repl-diskless-load") in ("swapdb", "on-empty-db") and spec.replica_count:
        yield warn(
            f"{at}repl-diskless-load",
            text["repl-diskless-load"],
            "so a replica may hold its old and its new data at once",
            "make memory.copy_on_write_headroom 1.0 or more, or remove it",
        )
    if "replica-ignore-maxmemory" in off and spec.replica_count:
        yield warn(
            f"{at}replica-ignore-maxmemory", False, "so replicas evict on their own and differ from their primary", "remove it"
        )
    if text.get("enable-debug-command") in ("yes", "true"):
        yield warn(f"{at}enable-debug-command", True, "so the admin user can stall or crash a server", "use local, or remove it")

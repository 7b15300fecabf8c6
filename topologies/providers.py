"""Dynamic providers: thin, stable, importable. Pulumi stores a reference to these classes in the state of every stack.

Renaming or moving a class here would show as a change on every stack made by an earlier release.
"""

import secrets
from typing import TYPE_CHECKING, Any

from pulumi.dynamic import CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

if TYPE_CHECKING:
    from operations.change import Change
    from operations.inventory import Access
    from operations.surge import Surge

PASSWORD_BYTES = 32


class CredentialsProvider(ResourceProvider):
    """Passwords by user, made once; users added later get theirs, users that left lose theirs."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_="credentials", outs={"users": props["users"], "passwords": _passwords(props["users"], {})})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=sorted(_olds["users"]) != sorted(_news["users"]))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs={"users": _news["users"], "passwords": _passwords(_news["users"], _olds["passwords"])})


def _passwords(users: list[str], known: dict[str, str]) -> dict[str, str]:
    return {user: known.get(user) or secrets.token_hex(PASSWORD_BYTES) for user in users}


class ConvergenceProvider(ResourceProvider):
    """Brings the running servers to what is declared; see `operations.converge`, and `operations.reshape` for another topology.

    Inputs: `inventory` (plain data), `credentials` (secret), `revisions` (ids of the node containers and a digest of the
    files that they read): a change of any of them asks for another look at the live servers. `standing` tells what the engine
    has and the plan has not: `leaving` nodes; the number of `shards` that was last begun, which counts while it differs; and
    the temporary replicas that gates may have made (`surge`), which leave too. A refresh looks at the servers too and notes
    what is not as declared as `drift`, which the next update mends.
    """

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=f"converged-{props['inventory']['stack']}", outs=_converged({}, props))

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        watched = ("inventory", "credentials", "revisions")
        changed = any(_olds.get(name) != _news.get(name) for name in watched)
        return DiffResult(changes=changed or bool(_olds.get("drift")) or _is_unfinished(_news))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=_converged(_olds, _news))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        from operations.inventory import Inventory  # noqa: PLC0415
        from operations.surge import end  # noqa: PLC0415

        end(Inventory.model_validate(_props["inventory"]))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from operations.drift import noticed  # noqa: PLC0415

        known = {name: value for name, value in props.items() if name != "drift"}
        found = noticed(_access(props))
        return ReadResult(id_, {**known, "drift": list(found)} if found else known)


class RestorationProvider(ResourceProvider):
    """Brings a backup into a stack when it is made; later it changes nothing. See `operations.backup.born`.

    Inputs: `inventory`, `credentials` (secret) of the new stack, `source` (the spec's `restore_from`).
    """

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=f"restored-{props['inventory']['stack']}", outs={**props, "outcome": _restored(props)})

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=False)


def _restored(props: dict[str, Any]) -> str:
    from operations.backup.born import born_from  # noqa: PLC0415
    from operations.inventory import Access, Credentials, Inventory  # noqa: PLC0415
    from operations.orphan import end_with_parent  # noqa: PLC0415

    end_with_parent()
    access = Access(inventory=Inventory.model_validate(props["inventory"]), credentials=Credentials.of(props["credentials"]))
    return born_from(access, props["source"], report=lambda line: print(line, flush=True))


def _is_unfinished(props: dict[str, Any]) -> bool:
    """Something of another shape stands on the engine, from this change or from one that was interrupted."""
    standing = props.get("standing") or {}
    return bool(standing.get("leaving")) or standing.get("shards") not in (None, _shards(props))


def _shards(props: dict[str, Any]) -> int | None:
    """The number of shards of a cluster; None for other topologies, and for a stack that was not made yet."""
    cluster = props.get("inventory", {}).get("cluster")
    return int(cluster["shards"]) if cluster else None


def change_of(olds: dict[str, Any], news: dict[str, Any]) -> "Change":
    """What changes in topology: nodes that leave, and another number of shards than was reached, or begun, before."""
    from operations.change import Change  # noqa: PLC0415
    from operations.inventory import NodeEntry  # noqa: PLC0415

    standing = news.get("standing") or {}
    return Change(
        leaving=tuple(NodeEntry.model_validate(entry) for entry in standing.get("leaving", ())),
        rebalance=any(count not in (None, _shards(news)) for count in (standing.get("shards"), _shards(olds))),
        accept_loss=bool(news["inventory"]["spec"].get("change", {}).get("accept_loss")),
    )


class GateProvider(ResourceProvider):
    """Lets a node's container be replaced only when that takes nothing from the stack; see `operations.gate`.

    Inputs: `inventory`, `credentials` (secret), `node`, and `revision`, a digest of all that replaces the container: only a
    change of that leads through the gate. `surge` and `image`: temporary replicas that join before, and what they run.
    """

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=f"gate-{props['node']}", outs=props)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=_olds.get("revision") != _news.get("revision"))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        from operations.gate import await_turn  # noqa: PLC0415
        from operations.orphan import end_with_parent  # noqa: PLC0415

        end_with_parent()
        await_turn(_access(_news), _news["node"], lambda line: print(line, flush=True), _surge(_news))
        return UpdateResult(outs=_news)


def _surge(props: dict[str, Any]) -> "Surge | None":
    from operations.inventory import NodeEntry  # noqa: PLC0415
    from operations.surge import Surge  # noqa: PLC0415

    nodes = tuple(NodeEntry.model_validate(entry) for entry in props.get("surge") or ())
    return Surge(nodes, props.get("image", "")) if nodes else None


def _access(props: dict[str, Any]) -> "Access":
    # Imported here: the program itself, which only pickles a reference to these classes, need not load the client library.
    from operations.inventory import Access, Credentials, Inventory  # noqa: PLC0415

    return Access(inventory=Inventory.model_validate(props["inventory"]), credentials=Credentials.of(props["credentials"]))


def _converged(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    from operations.orphan import end_with_parent  # noqa: PLC0415
    from operations.reshape import reshape  # noqa: PLC0415
    from operations.surge import give_back, joined  # noqa: PLC0415

    def report(line: str) -> None:
        print(line, flush=True)

    end_with_parent()
    access = _access(news)
    change = joined(access.inventory, change_of(olds, news), _surge(news.get("standing") or {}))
    result = reshape(access, change, report)
    give_back(access.inventory, change.leaving, report)
    versions = sorted({node.info.version for node in result.observation.nodes if node.info})
    return {**news, "version": " ".join(versions)}

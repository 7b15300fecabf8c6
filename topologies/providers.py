"""Dynamic providers: thin, stable, importable. Pulumi stores a reference to these classes in the state of every stack.

Renaming or moving a class here would show as a change on every stack made by an earlier release.
"""

import secrets
from typing import Any

from pulumi.dynamic import CreateResult, DiffResult, ResourceProvider, UpdateResult

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
    """Brings the running servers to what is declared; see `operations.converge`.

    Inputs: `inventory` (plain data), `credentials` (secret), `revisions` (ids of the node containers and a digest of the
    files that they read): a change of any of them asks for another look at the live servers.
    """

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=f"converged-{props['inventory']['stack']}", outs=_converged(props))

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        watched = ("inventory", "credentials", "revisions")
        return DiffResult(changes=any(_olds.get(name) != _news.get(name) for name in watched))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=_converged(_news))


def _converged(props: dict[str, Any]) -> dict[str, Any]:
    # Imported here: the program itself, which only pickles a reference to this class, need not load the client library.
    from operations.converge import converge  # noqa: PLC0415
    from operations.inventory import Access, Credentials, Inventory  # noqa: PLC0415

    access = Access(inventory=Inventory.model_validate(props["inventory"]), credentials=Credentials.of(props["credentials"]))
    result = converge(access, report=lambda line: print(line, flush=True))
    versions = sorted({node.info.version for node in result.observation.nodes if node.info})
    return {**props, "version": " ".join(versions)}

"""Which users a server has and what each may do, compared with what is declared. Pure.

Servers show rules in words of their own (and each version in others), so both sides are worked out to the set of commands that
they allow, with the categories of that very server.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

DEFAULT = "default"
"""The server's own user; declared is that nobody can log in as it."""


@dataclass(frozen=True)
class User:
    """One user of a server: enabled or not, SHA-256 of its passwords (hexadecimal), rules as words."""

    enabled: bool
    passwords: frozenset[str]
    rules: tuple[str, ...]
    needs_no_password: bool = False


Categories = Mapping[str, frozenset[str]]
"""Commands (`get`, `client|kill`) by category, as ACL CAT tells."""


def declared_user(password: str, rules: str) -> User:
    return User(True, frozenset({hashlib.sha256(password.encode()).hexdigest()}), tuple(rules.split()))


NOBODY = User(False, frozenset(), ())
"""What `default` is declared to be."""


def live_user(line: str) -> tuple[str, User]:
    """Name and user of one line of ACL LIST: `user NAME on #HASH ~* &* +@all`."""
    words = line.split()
    rules = tuple(word for word in words[2:] if word[0] in "~%&+-(" or word == "resetchannels")
    hashes = frozenset(word[1:] for word in words if word.startswith("#"))
    return words[1], User("on" in words[2:], hashes, rules, "nopass" in words)


def allowed(rules: tuple[str, ...], categories: Categories) -> frozenset[str]:
    """The commands that rules allow, in their order: later ones win."""
    everything = frozenset().union(*categories.values())
    found: set[str] = set()
    for rule in rules:
        if rule[0] not in "+-":
            continue
        name = rule[1:].lower()
        if name == "@all":
            meant = everything
        elif name.startswith("@"):
            meant = categories.get(name[1:], frozenset())
        else:
            meant = frozenset(one for one in everything if one == name or one.startswith(f"{name}|"))
        found = found | meant if rule[0] == "+" else found - meant
    # A command with subcommands is only as good as they are.
    return frozenset(one for one in found if not any(other.startswith(f"{one}|") for other in everything))


def patterns(rules: tuple[str, ...]) -> frozenset[str]:
    """What keys and channels rules name, and selectors."""
    return frozenset(rule for rule in rules if rule[0] in "~%&(")


def differences(declared: User, live: User, categories: Categories) -> Iterator[str]:
    """How a live user differs; no password is told."""
    if declared.enabled != live.enabled:
        yield "can log in" if live.enabled else "cannot log in"
    if live.needs_no_password:
        yield "needs no password"
    if not declared.enabled:
        return
    if declared.passwords != live.passwords:
        more, missing = len(live.passwords - declared.passwords), len(declared.passwords - live.passwords)
        yield f"has {more} passwords that are not declared and lacks {missing}"
    wanted, found = allowed(declared.rules, categories), allowed(live.rules, categories)
    for text, commands in (("may also run", found - wanted), ("may not run", wanted - found)):
        if commands:
            listed = sorted(commands)
            yield f"{text} {', '.join(listed[:5])}" + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
    if patterns(declared.rules) != patterns(live.rules):
        yield f"reaches {' '.join(sorted(patterns(live.rules))) or 'no keys'}"


def user_problems(declared: Mapping[str, User], live: Mapping[str, User], categories: Categories) -> dict[str, str]:
    """By user, how the users of a server differ from those declared."""
    found = {}
    for name, user in ({DEFAULT: NOBODY} | dict(declared)).items():
        problems = list(differences(user, live[name], categories)) if name in live else ["is missing"]
        if problems:
            found[name] = "; ".join(problems)
    return found | {name: "is not declared" for name in live if name not in declared and name != DEFAULT}

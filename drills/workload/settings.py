"""What a client process is told, as one JSON object on its standard input; credentials too, never in arguments or environment."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Mode = Literal["plain", "wait", "waitaof"]
Way = Literal["cluster", "sentinel", "direct"]


@dataclass(frozen=True)
class Target:
    """A data node: its name and where the clients reach it."""

    name: str
    host: str
    port: int


@dataclass(frozen=True)
class LaneSettings:
    """One client with its lane; `key` is the prefix of its keys."""

    lane: int
    client: int
    key: str
    slot: int | None = None
    shard: int | None = None


@dataclass(frozen=True)
class Settings:
    """One client process: `lanes` clients, each with a thread, a connection of its own and `rate` requests per second.

    A rate of 0 means as fast as the answers come (closed loop). `mode` `wait` asks `acks` replicas after every write, within
    `acks_ms`; `waitaof` asks for the local disk and `acks` replicas' disks. Every `read_every`-th request is a read (0: none).
    `remap` maps announced addresses to reachable ones ("10.0.0.1:6379" -> ["127.0.0.1", 13010]), for clients outside the network.
    """

    run: str
    way: Way
    targets: tuple[Target, ...]
    username: str
    password: str = field(repr=False)
    lanes: tuple[LaneSettings, ...] = ()
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    side: str = "main"
    rate: float = 0.0
    mode: Mode = "plain"
    acks: int = 0
    acks_ms: int = 300
    read_every: int = 10
    retries: int = 0
    connect_timeout: float = 0.5
    request_timeout: float = 0.5
    payload_bytes: int = 0
    remap: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    record: bool = True

    def to_data(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Settings":
        return cls(
            **{
                **data,
                "targets": tuple(Target(**target) for target in data["targets"]),
                "lanes": tuple(LaneSettings(**lane) for lane in data["lanes"]),
                "sentinels": tuple((host, port) for host, port in data["sentinels"]),
                "remap": {name: (host, port) for name, (host, port) in data["remap"].items()},
            }
        )

    def public(self) -> dict[str, Any]:
        """For journals: without the password."""
        return {name: value for name, value in self.to_data().items() if name not in ("password", "lanes", "targets", "remap")}

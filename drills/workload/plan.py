"""From a stack to the settings of its clients: who writes where, how fast, and through what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from redis.crc import key_slot

from drills.workload.settings import LaneSettings, Mode, Settings, Target, Way
from drills.workload.uses.stage import UseSettings
from operations.connect import endpoint
from operations.errors import UsageError
from operations.inventory import Access, Inventory

KEY_PREFIX = "redis-topologies:drill"
MAIN_OCTET, SIDE_OCTET, WATCH_OCTET = 2, 250, 251
"""Last part of the addresses of client containers: never those of nodes."""

SYNCS_PER_SECOND, SYNC_MS = 0.4, 3000
"""Of one client that waits for the disks of primary and replica."""

TAGS = 12
"""Hash tags for the simulated applications; the first ones lie in all shards in turn."""

SlotRanges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Load:
    """What the user asks for: `clients` in all, `rate` requests per second in all (0: as fast as they can). The replicas have
    `acks_ms` to confirm, which must be less than `request_timeout`: a shortfall is an answer, a time-out costs the connection."""

    clients: int = 12
    rate: float = 600.0
    mode: Mode = "plain"
    acks: int = 0
    acks_ms: int = 300
    read_every: int = 10
    retries: int = 0
    request_timeout: float = 0.5
    connect_timeout: float = 0.5
    payload_bytes: int = 0
    record: bool = True

    def waits_for(self, replicas: int) -> bool:
        """Whether a write counts as acknowledged only when all `replicas` of its shard have it: another promise to users."""
        return self.mode != "plain" and self.acks >= replicas > 0

    @property
    def summary(self) -> str:
        """One line for people."""
        speed = f"{self.rate:,.0f} requests/s" if self.rate else "as fast as answers come"
        mode = {"plain": "plain writes", "wait": f"WAIT {self.acks} checked", "waitaof": f"WAITAOF 1 {self.acks} checked"}[
            self.mode
        ]
        return f"{self.clients} clients, {speed}, {mode}"


def confirmations(mode: Mode, acks: int | None, replicas: int) -> int:
    """How many replicas have to confirm a write when `acks` were asked for: without a wish all of them with `wait`, and none with
    `waitaof`, which waits for the primary's own disk. Raises UsageError for a load that would wait for nobody, or in vain."""
    if acks is None:
        acks = replicas if mode == "wait" else 0
    if mode == "plain" and acks:
        raise UsageError(f"--acks is {acks} but --mode plain asks no replica; use --mode wait or --mode waitaof")
    if mode == "wait" and not replicas:
        raise UsageError("--mode wait waits for replicas, and this stack has none; use --mode plain or --mode waitaof")
    if mode == "wait" and not acks:
        raise UsageError(f"--mode wait with --acks 0 waits for nobody; use --acks 1 to {replicas}, or leave it out for all")
    if acks > replicas:
        has = f"{replicas} replica{'s' * (replicas != 1)}"
        raise UsageError(f"--acks is {acks} but each shard has {has}, so that nothing would be acknowledged; use {replicas}")
    return acks


def feasible(load: Load, inventory: Inventory) -> Load:
    """The load as it can be carried: under `fsync everysec` WAITAOF is answered with the next sync of the primary and the next
    report of the replica, after up to 2 s. So it is given that time, and no client is asked for more than what fits in it."""
    fsync = inventory.spec.get("persistence", {}).get("aof", {}).get("fsync", "everysec")
    if load.mode != "waitaof" or fsync == "always":
        return load
    rate = min(load.rate, load.clients * SYNCS_PER_SECOND) if load.rate else 0.0
    return replace(load, rate=rate, acks_ms=SYNC_MS, request_timeout=SYNC_MS / 1000 + load.request_timeout)


def ways(inventory: Inventory) -> Way:
    """How an application reaches this topology."""
    ways: dict[str, Way] = {"cluster": "cluster", "sentinel": "sentinel"}
    return ways.get(inventory.topology, "direct")


def lanes(
    run: str, clients: int, slots: Mapping[int, SlotRanges], first: int = 0, shards: Sequence[int] | None = None
) -> tuple[LaneSettings, ...]:
    """`clients` lanes, dealt to the shards in turn and spread evenly over each shard's slots; without slots all in shard 1.

    `slots` maps shard to its ranges, both ends inclusive; `first` is the number of the first lane.
    """
    order = list(shards if shards is not None else (sorted(slots) or [1]))
    per_shard = {shard: clients // len(order) + (place < clients % len(order)) for place, shard in enumerate(order)}
    if not slots:
        return tuple(
            LaneSettings(lane, lane, f"{KEY_PREFIX}:{run}:{lane}", None, order[0]) for lane in range(first, first + clients)
        )
    tags = {shard: _tags(slots[shard], per_shard[shard], run) for shard in order}
    found = []
    for number in range(clients):
        shard = order[number % len(order)]
        tag, slot = tags[shard][number // len(order)]
        lane = first + number
        found.append(LaneSettings(lane, lane, f"{KEY_PREFIX}:{{{tag}}}:{run}:{lane}", slot, shard))
    return tuple(found)


def _tags(ranges: SlotRanges, count: int, run: str) -> list[tuple[str, int]]:
    """`count` hash tags whose slots lie in `ranges`, one in each of `count` equal pieces of them."""
    owned = [slot for low, high in ranges for slot in range(low, high + 1)]
    if not owned:
        raise UsageError("a shard without slots cannot be written to")
    piece = {slot: position * count // len(owned) for position, slot in enumerate(owned)}
    chosen: dict[int, tuple[str, int]] = {}
    number = 0
    while len(chosen) < count:
        tag = f"{run}-{number}"
        number += 1
        slot = key_slot(tag.encode())
        place = piece.get(slot)
        if place is not None and place not in chosen:
            chosen[place] = (tag, slot)
    return [chosen[place] for place in range(count)]


def settings(
    access: Access, load: Load, run: str, slots: Mapping[int, SlotRanges], inside: bool = True,
    side: str = "main", first: int = 0, clients: int | None = None, shards: Sequence[int] | None = None,
) -> Settings:  # fmt: skip
    """Settings of one client process. `inside` the stack's network, nodes are reached by their own addresses; else through the
    published ports. `clients` (default: all of `load`) share the rate in proportion."""
    inventory = access.inventory
    count = load.clients if clients is None else clients

    def where(name: str) -> tuple[str, int]:
        node = inventory.node(name)
        return (node.address, node.port) if inside else endpoint(node)

    remap = {} if inside else {f"{node.address}:{node.port}": endpoint(node) for node in inventory.nodes}
    return Settings(
        run=run,
        way=ways(inventory),
        targets=tuple(Target(node.name, *where(node.name)) for node in inventory.data_nodes),
        username="app",
        password=access.credentials.password("app"),
        lanes=lanes(run, count, slots, first, shards),
        sentinels=tuple(where(node.name) for node in inventory.sentinels),
        service=inventory.sentinel.service if inventory.sentinel else "",
        side=side,
        rate=load.rate / max(load.clients, 1),
        mode=load.mode,
        acks=load.acks,
        acks_ms=load.acks_ms,
        read_every=load.read_every,
        retries=load.retries,
        connect_timeout=load.connect_timeout,
        request_timeout=load.request_timeout,
        payload_bytes=load.payload_bytes,
        remap=remap,
        record=load.record,
    )


def use_settings(
    access: Access, load: Load, run: str, slots: Mapping[int, SlotRanges], uses: Sequence[str], seed: int, shared: str,
    inside: bool = True, side: str = "main", shards: Sequence[int] | None = None, origin_url: str = "",
) -> UseSettings:  # fmt: skip
    """Settings of one process with simulated applications. They wait for replicas when the load does. Those that reach no other
    `shards` use the things there instead of all the others."""
    spread = lanes(run, TAGS, slots)
    reached = next((lane for lane in spread if shards is None or lane.shard in shards), spread[0])
    spread = tuple(lane if shards is None or lane.shard in shards else reached for lane in spread)
    return UseSettings(
        client=replace(settings(access, load, run, slots, inside, side), lanes=()),
        uses=tuple(uses),
        prefix=f"{KEY_PREFIX}:{run}",
        tags=tuple(lane.key.partition("{")[2].partition("}")[0] or f"{run}-{lane.lane}" for lane in spread),
        seed=seed,
        shared=shared,
        confirm=load.acks if load.mode == "wait" else 0,
        origin_url=origin_url,
    )

"""Addresses and published ports of a stack, stable when shards, replicas or sentinels are added.

A stack has a slot index 0..63: subnet 10.213.<index>.0/24 and a block of 256 published ports. The last part of a node's
address is also its offset in the block, so address and port can be read from each other.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Network

from operations.errors import InvalidInput

INDEX_COUNT = 64
FIRST_PORT = 13000
"""64 blocks of 256 ports end at 29383, below the range from which the kernel takes ports for outgoing connections."""
BLOCK = 256
MAX_SHARDS = 48
MAX_MEMBERS = 5
FIRST_DATA_OCTET = 10
FIRST_SENTINEL_OCTET = 3


@dataclass(frozen=True)
class Addressing:
    """Where the nodes of one stack live."""

    index: int
    subnet: IPv4Network
    port_base: int

    def address(self, octet: int) -> str:
        return str(self.subnet.network_address + octet)

    def host_port(self, octet: int) -> int:
        return self.port_base + octet

    @staticmethod
    def data_octet(shard: int, member: int) -> int:
        """Offset of a data node; shard and member count from 1. Members are 48 apart so that shards can be appended."""
        if not (1 <= shard <= MAX_SHARDS and 1 <= member <= MAX_MEMBERS):
            raise InvalidInput(
                f"shard {shard} with member {member} has no address; up to {MAX_SHARDS} shards of {MAX_MEMBERS} "
                "nodes are possible"
            )
        return FIRST_DATA_OCTET + (member - 1) * MAX_SHARDS + shard - 1

    @staticmethod
    def sentinel_octet(number: int) -> int:
        """Offset of a sentinel, counted from 1 to 7."""
        return FIRST_SENTINEL_OCTET + number - 1


def preferred_index(stack: str) -> int:
    """The index that a stack takes when it is free; the same on every machine."""
    return int.from_bytes(hashlib.sha256(stack.encode()).digest()[:8], "big") % INDEX_COUNT


def choose_index(stack: str, taken: Collection[int]) -> int:
    """The preferred index, or the next one that is not `taken`; raises InvalidInput when there is none."""
    start = preferred_index(stack)
    for step in range(INDEX_COUNT):
        index = (start + step) % INDEX_COUNT
        if index not in taken:
            return index
    raise InvalidInput(
        f"all {INDEX_COUNT} default subnets are taken on this Docker engine; set network.subnet and "
        f"network.port_base for stack {stack}"
    )


def subnet_of(index: int) -> IPv4Network:
    return IPv4Network(f"10.213.{index}.0/24")


def addressing(index: int, subnet: str | None = None, port_base: int | None = None) -> Addressing:
    """The addressing of an index, with what the user declared in its place."""
    return Addressing(
        index=index,
        subnet=IPv4Network(subnet) if subnet else subnet_of(index),
        port_base=port_base if port_base is not None else FIRST_PORT + index * BLOCK,
    )

"""Whether a declared subnet and block of ports can hold a stack; collisions with what runs are found by the guard."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from topologies.addresses import BLOCK, FIRST_PORT, INDEX_COUNT, subnet_of
from topologies.rules.ruling import Ruling, refuse, warn
from topologies.spec import Spec

SUBNET, PORT_BASE = "network.subnet", "network.port_base"
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
SMALLEST_PREFIX, LARGEST_PREFIX = 16, 24
"""Node addresses go up to .249, so /24 is the smallest subnet; larger than /16 would shut out too much."""
DOCKER_BRIDGE = IPv4Network("172.17.0.0/16")
OUTGOING_PORTS = range(32768, 61000)
"""Linux takes ports for outgoing connections from here (net.ipv4.ip_local_port_range)."""
LAST_PORT = 65535
EXAMPLE = "for example 10.50.0.0/24"


def network(spec: Spec) -> Iterator[Ruling]:
    """Subnet and ports that the user declared."""
    if spec.network.subnet is not None:
        yield from _subnet(spec.network.subnet)
    if spec.network.port_base is not None:
        yield from _ports(spec.network.port_base, spec.network.publish)


def _subnet(text: str) -> Iterator[Ruling]:
    try:
        subnet = ip_network(text, strict=False)
    except ValueError:
        yield refuse(SUBNET, text, "but is not an IPv4 subnet", f"write it {EXAMPLE}")
        return
    if isinstance(subnet, IPv6Network):
        yield refuse(SUBNET, text, "but nodes have IPv4 addresses", f"use an IPv4 subnet, {EXAMPLE}")
        return
    if "/" not in text:
        yield refuse(SUBNET, text, "but is an address, not a subnet", f"write {IPv4Network(f'{text}/24', strict=False)}")
    elif subnet.prefixlen > LARGEST_PREFIX:
        larger = subnet.supernet(new_prefix=LARGEST_PREFIX)
        yield refuse(SUBNET, text, "but addresses of nodes go up to .249, which needs a /24", f"use {larger}")
    elif subnet.prefixlen < SMALLEST_PREFIX:
        yield refuse(SUBNET, text, "which would shut other networks out", f"use a part of it, {EXAMPLE}")
    elif not any(subnet.subnet_of(private) for private in PRIVATE):
        private = "10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
        yield refuse(SUBNET, text, "but is not a private range, so real addresses would be shut out", f"use a part of {private}")
    elif str(subnet) != text:
        yield refuse(SUBNET, text, "but is the address of one host in that subnet", f"write {subnet}")
    else:
        yield from _doubtful(subnet)


def _doubtful(subnet: IPv4Network) -> Iterator[Ruling]:
    defaults = subnet_of(0).supernet(new_prefix=18)
    if subnet.overlaps(defaults):
        yield warn(
            SUBNET,
            str(subnet),
            f"but stacks without a subnet of their own take theirs from {defaults}",
            "remove it to get a free one, or use another range",
        )
    if subnet.overlaps(DOCKER_BRIDGE):
        yield warn(SUBNET, str(subnet), "but Docker mostly uses that range for its default network", f"use another, {EXAMPLE}")


def _ports(base: int, published: bool) -> Iterator[Ruling]:
    last, highest = base + BLOCK - 1, LAST_PORT - BLOCK + 1
    default_last = FIRST_PORT + INDEX_COUNT * BLOCK - 1
    if last > LAST_PORT:
        yield refuse(PORT_BASE, base, f"but its block of {BLOCK} ports would end at {last}", f"use 1024 to {highest}")
    elif not published:
        yield warn(PORT_BASE, base, "but has no effect with network.publish false", "remove it", "network.publish")
    elif base in OUTGOING_PORTS or last in OUTGOING_PORTS:
        yield warn(
            PORT_BASE,
            base,
            f"but Linux takes ports {OUTGOING_PORTS.start} to {OUTGOING_PORTS.stop - 1} for outgoing connections, so one can be "
            "taken when a node starts",
            f"use {default_last + 1} to {OUTGOING_PORTS.start - BLOCK}",
        )
    elif base <= default_last and last >= FIRST_PORT:
        yield warn(
            PORT_BASE,
            base,
            f"but stacks without a port_base of their own take theirs from {FIRST_PORT} to {default_last}",
            "remove it to get a free one, or use another range",
        )

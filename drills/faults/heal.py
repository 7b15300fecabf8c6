"""Undo whatever drills left in a stack, without knowing what was injected: after Ctrl-C, after kill -9, from another machine."""

import contextlib

from docker.errors import APIError, NotFound

from drills.faults import disks, elsewhere, network, process
from drills.faults.base import LABEL, PART, Engine
from drills.faults.replaced import make_anew
from operations.inventory import NodeEntry


def heal_stack(engine: Engine) -> list[str]:
    """Remove client and helper containers, make missing nodes anew, resume and start every node, clean every node's network; what
    was done, in sentences.

    Safe to call at any time on a stack without a running drill. Raises FaultFailed when something cannot be undone.
    """
    done = remove_containers(engine) + elsewhere.clear(engine)
    nodes = engine.inventory.nodes
    done += disks.undo_all(engine)
    made = make_anew(engine, nodes)
    done += [made] if made else []
    started = engine.each(nodes, lambda node: process.ensure_running(engine, node))
    done += [f"{node.name} was down or frozen: started" for node, did in zip(nodes, started, strict=True) if did]

    def rest(node: NodeEntry) -> list[str]:
        found = [f"{node.name} was stopped by a signal: resumed"] if process.resume_server(engine, node) else []
        return [*found, f"rules in the network of {node.name}: removed"] if network.clean(engine, node) else found

    for sentences in engine.each(nodes, rest):
        done += sentences
    return done


def remove_containers(engine: Engine) -> list[str]:
    """Remove every container that a drill made beside this stack, and what its applications shared."""
    done = []
    for container in engine.client.containers.list(all=True, filters={"label": f"{LABEL}={engine.inventory.stack}"}):
        try:
            name = str(container.name)
            container.remove(force=True)
            done.append(f"container {name}: removed")
        except (NotFound, APIError):
            continue  # removes itself at this moment
    for volume in engine.client.volumes.list(filters={"label": [f"{LABEL}={engine.inventory.stack}", f"{PART}=shared"]}):
        with contextlib.suppress(NotFound):
            volume.remove(force=True)
            done.append(f"volume {volume.name}: removed")
    return done

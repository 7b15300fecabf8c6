"""Pulumi program: spec -> plan -> topology -> outputs. Everything else lives in `topologies/`."""

from topologies.program import run

run()

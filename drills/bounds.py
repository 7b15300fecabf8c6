"""The formulas of `operations.bounds`, under the name that drills know."""

from operations.bounds import SLACK, Bound, FaultKind, Timing, election_retry, failover_bound, writable_when_cut_off

__all__ = ["SLACK", "Bound", "FaultKind", "Timing", "election_retry", "failover_bound", "writable_when_cut_off"]

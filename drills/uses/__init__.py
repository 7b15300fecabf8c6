"""What the simulated applications promise, and the pure functions that judge it from their events. What plays them is
`drills.workload.uses`."""

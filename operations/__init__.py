"""What can be done to a running topology, without Pulumi: connect, inspect, converge."""

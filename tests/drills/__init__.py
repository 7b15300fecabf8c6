"""Drills on running stacks: all of them on healthy ones, and on stacks that were broken on purpose."""

"""Faults: objects that inject, show that they took hold, and heal. Healing is idempotent and needs nothing but the stack, so that
what a killed drill left behind can be found and undone by `drills.faults.heal`."""

"""Writes one key after the other with a client of examples/python until standard input ends.

usage: ride.py FOLDER TOPOLOGY     (RIDE_PATIENCE in the environment: seconds, for all writes but the first one)

Standard output: a line of JSON every tenth of a second, {"writes": acknowledged, "longest": seconds of the slowest call};
with "error" when a call failed for good, and "read" at the end: how many of the acknowledged keys hold what was written.
"""

import importlib
import json
import os
import sys
import threading
import time

PAUSE_SECONDS = 0.01
TELL_SECONDS = 0.1


def wait_for_the_end(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def main() -> None:
    folder, topology = sys.argv[1:]
    sys.path.insert(0, folder)
    patiently = importlib.import_module("common").patiently
    client = importlib.import_module(topology).client
    hasty = {"seconds": float(os.environ["RIDE_PATIENCE"])} if "RIDE_PATIENCE" in os.environ else {}
    stop = threading.Event()
    threading.Thread(target=wait_for_the_end, args=(stop,), daemon=True).start()
    state: dict[str, object] = {"writes": 0, "longest": 0.0}
    writes, longest, told = 0, 0.0, 0.0
    try:
        while not stop.is_set():
            started = time.monotonic()
            key = f"ride:python:{folder}:{writes}"
            patiently(lambda key=key, value=writes: client().set(key, value), **(hasty if writes else {}))
            writes, longest = writes + 1, max(longest, time.monotonic() - started)
            state = {"writes": writes, "longest": longest}
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                print(json.dumps(state), flush=True)
            time.sleep(PAUSE_SECONDS)
        keys = {f"ride:python:{folder}:{number}": str(number) for number in range(writes)}
        state["read"] = sum(patiently(lambda key=key: client().get(key)) == value for key, value in keys.items())
    except Exception as error:  # told, whatever it is: the test decides
        state["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(state), flush=True)


main()

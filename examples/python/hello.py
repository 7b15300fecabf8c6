"""python hello.py cluster: writes a key to the stack and reads it back."""

import importlib
import sys

from common import patiently

client = importlib.import_module(sys.argv[1]).client

patiently(lambda: client().set("greeting", "hello"))
print(patiently(lambda: client().get("greeting")))

"""Compare a built provider's schema.json with the installed pulumi_docker SDK, input by input.

usage: python check_schema.py path/to/schema.json      exit 0 when every input name agrees, 1 otherwise
"""

import inspect
import json
import re
import sys

import pulumi_docker
import pulumi_docker._inputs as nested

WIRE_NAME = re.compile(r'pulumi\.get\(self, "(\w+)"\)')


def camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match.group(1).upper(), name.rstrip("_"))


def sdk_inputs(args_class: type) -> set[str]:
    getters = (member.fget for _, member in inspect.getmembers(args_class) if isinstance(member, property))
    return {camel(found.group(1)) for getter in getters if (found := WIRE_NAME.search(inspect.getsource(getter)))}


def main(path: str) -> int:
    schema = json.load(open(path))
    differences = compared = 0
    for group, owner, key in (
        (schema["resources"], pulumi_docker, "inputProperties"),
        (schema["types"], nested, "properties"),
    ):
        for token, definition in group.items():
            name = token.split(":")[-1]
            args_class = getattr(owner, name + "Args", None)
            if args_class is None:
                continue
            compared += 1
            sdk, built = sdk_inputs(args_class), set(definition.get(key, {}))
            if sdk != built:
                differences += 1
                print(f"{name}: only in the SDK {sorted(sdk - built)}; only in the schema {sorted(built - sdk)}")
    print(f"{compared} argument classes compared, {differences} differ")
    return 1 if differences or not compared else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

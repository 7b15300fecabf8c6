"""The stack output `connection`, as an application would read it."""

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


def load_connection(stack: str) -> dict[str, Any]:
    """Ask Pulumi for the secret output `connection` of a stack."""
    command = ["pulumi", "stack", "output", "connection", "--json", "--show-secrets", "--stack", stack, "--non-interactive"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, f"pulumi gives no output `connection` for stack {stack}: {answer.stderr}"
    connection: dict[str, Any] = json.loads(answer.stdout)
    return connection

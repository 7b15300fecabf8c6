"""A shop whose Redis is away: nothing listens at its address."""

import json
import os
import socket
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder: Path = tmp_path_factory.mktemp("shop")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
    timing = {"connect_seconds": 0.2, "command_seconds": 0.2, "patience_seconds": 1}
    told = {"topology": "standalone", "username": "app", "password": "x", "timing": timing, "inside": {"url": url}}
    (folder / "connection.json").write_text(json.dumps(told))
    os.environ |= {"CONNECTION": str(folder / "connection.json"), "PERSON_SECONDS": "0.3", "STOCK": str(folder / "stock.sqlite")}
    import app  # noqa: PLC0415 - reads its settings from the environment

    return app.app

"""The backup agent of a stack: what it is told, and where it lives. Pure."""

import base64
import json
from collections.abc import Mapping

from operations.backup.launch import AGENT_OCTET, Place, agent_container, code
from operations.inventory import Access, Credentials, Inventory
from topologies import outputs
from topologies.plan import Plan
from topologies.render import CONFIG, DATA_RULES

FOLDER = "backup"
COMMAND = (
    "import sys,base64,tempfile,pathlib;"
    "code=tempfile.NamedTemporaryFile(suffix='.zip');"
    f"code.write(base64.b64decode(pathlib.Path('{CONFIG}/{FOLDER}/code.b64').read_text()));code.flush();sys.path.insert(0,code.name);"
    "from operations.backup.agent import main;main()"
)
HEALTH = ("CMD-SHELL", "find /tmp/alive -mmin -60 | grep -q .")  # inside the container; a backup may take a while


def container_name(plan: Plan) -> str:
    return agent_container(plan.stack)


def address(plan: Plan) -> str:
    return f"{plan.subnet.rpartition('.')[0]}.{AGENT_OCTET}"


def agent_files(plan: Plan, passwords: Mapping[str, str]) -> dict[str, str]:
    """Files for the agent by path below the configuration volume; nothing for a stack without one."""
    if not plan.spec.backup.needs_agent:
        return {}
    inventory = Inventory.model_validate(outputs.inventory(plan, "", plan.spec.engine.version))
    place = Place(
        plan.stack, plan.spec.backup, Access(inventory=inventory, credentials=Credentials.of(dict(passwords))), DATA_RULES
    )
    return {
        f"{FOLDER}/request.json": json.dumps(place.request("agent", {}), sort_keys=True),
        f"{FOLDER}/code.b64": base64.b64encode(code()).decode(),
    }

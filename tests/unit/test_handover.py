"""How long a primary that stops waits for its sentinels (configs/node/handover.sh), run in a real shell."""

import subprocess
import time
from pathlib import Path

import pytest

HANDOVER = Path(__file__).resolve().parents[2] / "configs" / "node" / "handover.sh"
TOLD = """
PORT=6379 SENTINEL_PORT=26379 SERVICE=main SENTINELS="10.0.0.21 10.0.0.22 10.0.0.23" HANDOVER_SECONDS=2 MOMENT_SECONDS=1
say() { echo "$*"; }
seconds() { read -r up _ < /proc/uptime && echo "${up%.*}"; }
me() { :; }
shard_nodes() { echo 10.0.0.12; }
replicas_caught_up() { :; }
is_primary() { [ -n "${promoted:-}" ]; }
deadline=$(($(seconds) + HANDOVER_SECONDS))
"""
ANSWERS = """
ask() {
    case $4,${5:-} in
        PING,) echo PONG ;;
        SENTINEL,REPLICAS) [ -z "$AGE" ] || printf 'name\\nnode-2\\ninfo-refresh\\n%s\\n' "$AGE" ;;
        SENTINEL,FAILOVER) echo "$ANSWER" ;;
    esac
}
"""


def told(age: str = "", answer: str = "", promoted: str = "") -> tuple[str, float]:
    """What the script says, and how long it took, with sentinels that answer so."""
    began = time.monotonic()
    script = f'. "$0"; AGE={age} ANSWER={answer} promoted={promoted}; {TOLD}{ANSWERS} hand_over_sentinel'
    ended = subprocess.run(["sh", "-uc", script, str(HANDOVER)], capture_output=True, text=True, check=False, timeout=30)
    assert not ended.stderr
    return ended.stdout.strip(), time.monotonic() - began


def test_a_sentinel_that_goes_away_between_two_questions_is_not_waited_for() -> None:
    said, seconds = told(age="")
    assert said == "no sentinel could start a failover"
    assert seconds < 3


@pytest.mark.parametrize("age", ["100", "2000"])  # too early, too late: for ever
def test_a_good_moment_that_does_not_come_is_given_up(age: str) -> None:
    said, seconds = told(age, answer="OK", promoted="yes")
    assert said == "10.0.0.12 was promoted by 10.0.0.23"
    assert seconds < 3


def test_a_handover_that_no_sentinel_begins_ends_with_its_time() -> None:
    said, seconds = told(age="100", answer="NOGOODSLAVE")
    assert said == "no sentinel could start a failover"
    assert seconds < 5

"""When a primary that came back accepts writes (configs/node/confirm.sh), run in a real shell."""

import os
import subprocess
from pathlib import Path

import pytest

CONFIRM = Path(__file__).resolve().parents[2] / "configs" / "node" / "confirm.sh"
SENTINELS = "10.0.0.21 10.0.0.22 10.0.0.23"
PEERS = "10.0.0.12 10.0.0.13"
BOUND_SECONDS = 9


def shell(script: str, *arguments: str, **environment: str) -> str:
    env = {**os.environ, "SENTINELS": SENTINELS, "PEERS": PEERS, "FAILOVER_BOUND_SECONDS": str(BOUND_SECONDS), **environment}
    command = ["sh", "-uc", f'. "${{0%/*}}/role.sh"; . "$0"; {script}', str(CONFIRM), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("views", "waited_seconds", "decision"),
    [
        ("seen seen seen", 0, "accept"),
        ("seen seen", 0, "accept"),  # the third is silent
        ("seen", 0, "wait"),
        ("seen", BOUND_SECONDS, "accept"),
        ("", 0, "wait"),
        ("", BOUND_SECONDS - 1, "wait"),
        ("", BOUND_SECONDS, "accept"),  # nobody is there who could replace it
        ("seen seen unseen", 0, "wait"),  # with a quorum of 1 the third could begin a failover by itself
        ("seen unseen unseen", BOUND_SECONDS, "accept"),
        ("seen seen busy", 0, "wait"),
        ("seen seen busy", 10 * BOUND_SECONDS, "wait"),
        ("seen seen 10.0.0.12", 0, "wait"),  # the one that led the failover, or one that slept for long
        ("seen seen 10.0.0.12", BOUND_SECONDS, "accept"),
        ("seen 10.0.0.12 10.0.0.12", 0, "follow 10.0.0.12"),
        ("10.0.0.12 10.0.0.12", 0, "follow 10.0.0.12"),
        ("10.0.0.12 10.0.0.12 busy", 0, "wait"),
        ("seen 10.0.0.12 10.0.0.13", 0, "wait"),
    ],
)
def test_a_primary_accepts_writes_when_all_sentinels_that_answer_have_seen_it_back(
    views: str, waited_seconds: int, decision: str
) -> None:
    assert shell('decide_by_sentinels "$1" "$2"', views.replace(" ", "\n"), str(waited_seconds)) == decision


ME, OTHER = "10.0.0.11", "10.0.0.12"
AGE_MS = 700
VIEW = 'ask() { printf "%s" "$ANSWER"; }; ADDRESS=10.0.0.11 SENTINEL_PORT=26379 SERVICE=main sentinel_view 10.0.0.21 "$1"'


@pytest.mark.parametrize(
    ("ip", "flags", "unanswered_ms", "answered_ms", "view"),
    [
        (ME, "master", 0, 120, "seen"),
        (ME, "master", 0, AGE_MS, "unseen"),  # by the server that was there before
        (ME, "master", 30, 120, "unseen"),  # a sentinel that has just started counts from its own start
        (ME, "master,disconnected", 0, 120, "unseen"),
        (ME, "s_down,master", 0, 120, "unseen"),
        (ME, "s_down,o_down,master,disconnected", 2000, 4000, "unseen"),
        (ME, "s_down,o_down,master,failover_in_progress", 2000, 4000, "busy"),
        (ME, "master,failover_in_progress", 0, 120, "busy"),
        (OTHER, "master", 0, 120, OTHER),
    ],
)
def test_a_sentinel_is_asked_whether_it_has_seen_the_new_server(
    ip: str, flags: str, unanswered_ms: int, answered_ms: int, view: str
) -> None:
    fields = {
        "name": "main", "ip": ip, "port": "6379", "runid": "", "flags": flags, "link-pending-commands": "0",
        "last-ping-sent": str(unanswered_ms), "last-ok-ping-reply": str(answered_ms), "last-ping-reply": "5",
    }  # fmt: skip
    answer = "".join(f"{name}\n{value}\n" for name, value in fields.items())
    assert shell(VIEW, str(AGE_MS), ANSWER=answer) == view


@pytest.mark.parametrize("answer", ["", "ERR No such master with that name\n\n"])
def test_a_sentinel_that_does_not_answer_or_does_not_know_the_service_says_nothing(answer: str) -> None:
    assert shell(VIEW, str(AGE_MS), ANSWER=answer) == ""


@pytest.mark.parametrize(
    ("views", "waited_seconds", "decision"),
    [
        ("mine mine", 0, "accept"),
        ("mine", 0, "accept"),  # the other is silent
        ("blank blank", 0, "accept"),  # they have lost their volumes
        ("mine unsure", 0, "accept"),  # the other hears of it, and follows
        ("mine other", 0, "accept"),  # the other follows the one that follows this node
        ("", 0, "wait"),
        ("blank", 4, "wait"),
        ("", 5, "accept alone"),
        ("primary:10.0.0.12 other", 0, "follow 10.0.0.12"),
        ("primary:10.0.0.12", 0, "follow 10.0.0.12"),
        ("primary:10.0.0.12 unsure", 0, "follow 10.0.0.12"),
        ("primary:10.0.0.12 mine", 5, "wait"),  # which of the two primaries was promoted last?
        ("other", 5, "wait"),  # the one that was promoted is silent
        ("other unsure", 5, "wait"),  # the one that the other follows accepts writes, and then this one follows it
        ("unsure", 3600, "wait"),  # two primaries, and nobody to tell which of them was promoted last
    ],
)
def test_a_primary_in_plain_replication_accepts_writes_when_no_peer_knows_of_another(
    views: str, waited_seconds: int, decision: str
) -> None:
    assert shell('decide_by_peers "$1" "$2"', views.replace(" ", "\n"), str(waited_seconds)) == decision


TITLE = "{title} {listen-addr} {server-mode} redis-topologies:shop/node-2"


@pytest.mark.parametrize(
    ("role", "minimum", "title", "view"),
    [
        (f"slave {ME} 6379 connected 14", "0", TITLE, "mine"),
        (f"slave {ME}1 6379 connected 14", "0", TITLE, "other"),
        ("slave 127.0.0.1 1 connect -1", "0", TITLE, "blank"),
        ("master 14", "0", TITLE, f"primary:{OTHER}"),
        ("master 14", "1000000", TITLE, "unsure"),
        ("master 14", "0", TITLE + " alone", "unsure"),
        ("master 14", "0", TITLE + " stopping", f"primary:{OTHER}"),
        ("master 14", "", "", ""),  # it stopped between two questions
        ("", "0", TITLE, ""),
    ],
)
def test_a_peer_is_asked_what_it_is(role: str, minimum: str, title: str, view: str) -> None:
    ask = """ask() { case $4 in ROLE) printf '%s\n' $ROLE ;; CONFIG) printf "$CONFIG" ;; esac; }; """
    config = f"min-replicas-to-write\n{minimum}\nproc-title-template\n{title}\n" if title else ""
    assert shell(f'{ask} PORT=6379 ADDRESS={ME} peer_view "$1"', OTHER, ROLE=role, CONFIG=config) == view

"""Hints about the Docker host's kernel, from what a node sees of it."""

import pytest

from operations.kernel import BACKLOG, HUGE_PAGES, OVERCOMMIT, SERVER_HUGE_PAGES, kernel_hints

GOOD = {OVERCOMMIT: "1", HUGE_PAGES: "always [madvise] never", BACKLOG: "1024", SERVER_HUGE_PAGES: "1"}


def test_a_well_set_host_gets_no_hint_and_neither_does_an_unknown_one() -> None:
    assert kernel_hints(GOOD, "local") == ()
    assert kernel_hints({}, "local") == ()


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({OVERCOMMIT: "0"}, "vm.overcommit_memory is 0 on Docker host local"),
        ({OVERCOMMIT: "2"}, "vm.overcommit_memory is 2"),
        ({HUGE_PAGES: "[always] madvise never"}, "transparent huge pages are always on"),
        ({BACKLOG: "128"}, "net.core.somaxconn is 128"),
    ],
)
def test_each_bad_setting_gets_one_hint_that_says_what_to_do(change: dict[str, str], phrase: str) -> None:
    (hint,) = kernel_hints(GOOD | change, "local")
    assert phrase in hint
    assert "run `" in hint or "set it to" in hint


def test_huge_pages_that_the_server_switched_off_for_itself_are_no_concern() -> None:
    assert kernel_hints(GOOD | {HUGE_PAGES: "[always] madvise never", SERVER_HUGE_PAGES: "0"}, "local") == ()

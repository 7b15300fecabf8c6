"""Options and markers shared by all tiers."""

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
FIGURE = "figure"
"""Key of a measured figure among a test's properties; shown at the end of a run, also of one with several workers."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("redis topologies")
    group.addoption("--stack", default=None, help="the running stack that tests/infra looks at")
    group.addoption("--full", action="store_true", help="also run what belongs to make test-full")
    group.addoption("--left-out", default=None, metavar="FILE", help="write the names of tests that are left out to FILE")
    group.addoption("--kills", type=int, default=20, help="how often tests kill at random instants (live, full)")
    group.addoption("--keep-failed", action="store_true", help="leave the stacks of failed live tests standing")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the live tiers by their folders, and leave out what belongs to the full run unless that was asked for."""
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        if {TESTS / "live", TESTS / "drills"} & set(item.path.parents):
            item.add_marker(pytest.mark.live)
        full_only = item.get_closest_marker("full") is not None and not config.getoption("--full")
        (left_out if full_only else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        if config.getoption("--left-out"):
            # Each worker writes the same, whole file.
            Path(config.getoption("--left-out")).write_text("".join(f"{item.nodeid}\n" for item in left_out))
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures that tests measured, in the order in which the tests ended."""
    figures = [
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == FIGURE
    ]
    if figures:
        terminalreporter.section("figures")
        for figure in figures:
            terminalreporter.write_line(figure)

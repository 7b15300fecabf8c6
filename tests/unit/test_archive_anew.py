"""A node whose files were exchanged, by a restore or because it was lost, begins anew in the archive."""

import shutil
from pathlib import Path

import pytest

from operations.archive.ship import Shipper
from operations.archive.timeline import Look, file_ranges, plan_stack
from tests.unit.test_archive import Server, followed, the_archive


def last_life(tmp_path: Path, rewrites: int) -> Shipper:
    """A server that made so many rewrites was followed; files that no recent second needs are gone from the volume by now."""
    server, shipper = followed(tmp_path)
    server.write(1020, b"1")
    shipper.step(1021.0, 0.0)
    for number in range(rewrites):
        server.rewrite(1030 + number)
        server.write(1030 + number, b"2")
        shipper.step(1031.0 + number, 0.0)
    folder = tmp_path / "archive" / "node-1" / str(shipper.chapter)
    for path in [*folder.glob("appendonly.aof.1.*")] if rewrites else []:
        path.unlink()
    shutil.rmtree(tmp_path / "data")
    return shipper


@pytest.mark.parametrize("rewrites", [0, 2])
@pytest.mark.parametrize("killed", [False, True], ids=["followed on", "killed meanwhile"])
def test_what_is_written_after_the_files_were_exchanged_is_no_part_of_what_was_before(
    tmp_path: Path, rewrites: int, killed: bool
) -> None:
    shipper = last_life(tmp_path, rewrites)
    before = shipper.chapter
    if killed:
        shipper.close()
    server = Server(tmp_path / "data", second=1050)
    server.write(1060, b"another life")
    if killed:
        shipper = Shipper(tmp_path / "data", tmp_path / "archive" / "node-1")
    shipper.step(1062.0, 0.0)
    shipper.look(Look(1062.0, primary=True))
    shipper.step(1072.0, 0.0)
    old, new = the_archive(tmp_path)
    assert (old.folder, new.folder) == (f"node-1/{before}", f"node-1/{shipper.chapter}")
    assert file_ranges(new) == ((1050, 1071),)
    assert file_ranges(old)[-1][1] < 1050
    (plan,) = plan_stack([old, new], 1070).nodes
    assert (plan.folder, plan.base.made, [one.last for one in plan.increments]) == (new.folder, 1050, [1060])


def test_a_base_that_was_exchanged_while_nobody_looked_and_nothing_was_written_is_noticed(tmp_path: Path) -> None:
    _, shipper = followed(tmp_path)
    before = shipper.chapter
    shipper.close()
    shutil.rmtree(tmp_path / "data")
    Server(tmp_path / "data", second=1050)
    again = Shipper(tmp_path / "data", tmp_path / "archive" / "node-1")
    again.step(1062.0, 0.0)
    assert again.chapter != before


def test_a_server_that_goes_on_is_followed_in_the_same_folder(tmp_path: Path) -> None:
    server, shipper = followed(tmp_path)
    before = shipper.chapter
    for second in (1030, 1040):
        server.rewrite(second)
        server.write(second + 1, b"2")
        shipper.step(second + 2, 0.0)
        shipper.close()
        shipper = Shipper(tmp_path / "data", tmp_path / "archive" / "node-1")
        shipper.step(second + 3, 0.0)
    assert shipper.chapter == before

"""A suite as a visitor reads it: its state, its cells, and what a name means."""

from __future__ import annotations

import pytest
from suite_kit import begin, make_suite, suite_of
from view_kit import FINISHED, ended, make, started

from raysel.cli.main import main
from raysel.common.errors import OperationalError, UserError
from raysel.record.layout import SweepFolder, tracking_uri
from raysel.record.ownership import FileOwner
from raysel.sweep.gc import leftovers, remove
from raysel.sweep.suite_folder import is_suite, merged, read_cells, read_suite, stored_suite
from raysel.sweep.views import every_name, names, read_sweep, suites


def test_a_suite_is_complete_when_all_of_its_cells_are(tmp_path):
    make_suite(tmp_path)
    assert read_suite(str(tmp_path), "table").state == "NOT BEGUN"
    begin(tmp_path, "shots3", FINISHED)
    view = read_suite(str(tmp_path), "table")
    assert [cell.state for cell in view.cells] == ["COMPLETE", "NOT BEGUN"]
    assert (view.state, view.complete) == ("INTERRUPTED", 1)
    begin(tmp_path, "shots5", FINISHED)
    assert read_suite(str(tmp_path), "table").state == "COMPLETE"


def test_a_cell_that_cannot_be_read_is_named_and_not_called_one_without_results(tmp_path):
    make_suite(tmp_path)
    with pytest.raises(OperationalError, match="no cell has results yet; go on with"):
        read_cells(read_suite(str(tmp_path), "table"))
    folder = begin(tmp_path, "shots3", FINISHED)
    with pytest.raises(OperationalError, match=r"results\.json: is not there"):
        read_cells(read_suite(str(tmp_path), "table"))  # complete, and its results are gone
    for record in (folder.record, folder.backup):
        record.write_bytes(b"no database" * 100)
    with pytest.raises(OperationalError, match=r"shots3.sweep\.db"):
        read_cells(read_suite(str(tmp_path), "table"))


def test_a_suite_is_running_while_its_driver_has_the_lock(tmp_path):
    folder = make_suite(tmp_path)
    owner = FileOwner(folder.lock, "table")
    try:
        assert read_suite(str(tmp_path), "table").state == "RUNNING"
    finally:
        owner.release()


def test_a_cell_is_a_sweep_by_its_suites_name_and_its_own(tmp_path):
    make_suite(tmp_path)
    folder = begin(tmp_path, "shots3", started("0000", 0), ended("0000", "COMPLETE", 0.5))
    view = read_sweep(str(tmp_path), "table/shots3")
    assert (view.folder.name, view.folder.storage) == ("table/shots3", str(tmp_path))
    assert view.folder.resume().startswith("raysel resume table/shots3 ")
    assert view.folder.source_cache == SweepFolder.of(str(tmp_path), "other").source_cache
    assert tracking_uri(view.spec) == f"sqlite:///{tmp_path}/mlflow.db"
    assert view.spec.experiment == "table"
    assert folder.is_cell and not make(tmp_path, "alone").is_cell


def test_cells_are_no_sweeps_of_the_storage_and_all_names_has_them(tmp_path):
    make_suite(tmp_path)
    begin(tmp_path, "shots3")
    make(tmp_path, "alone")
    assert names(str(tmp_path)) == ["alone"]
    assert suites(str(tmp_path)) == ["table"]
    assert every_name(str(tmp_path)) == ["alone", "table/shots3"]
    assert is_suite(str(tmp_path), "table") and not is_suite(str(tmp_path), "alone")


def test_a_suite_in_the_place_of_a_sweep_is_answered_and_so_is_a_wrong_cell(tmp_path):
    make_suite(tmp_path)
    begin(tmp_path, "shots3")
    with pytest.raises(UserError, match=r"is a suite of several sweeps, .* raysel show table"):
        read_sweep(str(tmp_path), "table")
    with pytest.raises(UserError, match='did you mean "table/shots3"'):
        read_sweep(str(tmp_path), "table/shots4")
    with pytest.raises(UserError, match='did you mean "table"'):
        stored_suite(str(tmp_path), "tabel")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "table"}'])
def test_a_damaged_file_is_one_line_with_a_way_on(tmp_path, text):
    make_suite(tmp_path).suite.write_text(text, encoding="utf-8")
    with pytest.raises(OperationalError, match="is damaged; run its file again: raysel run FILE"):
        read_suite(str(tmp_path), "table")


def test_a_file_that_lost_a_cell_which_has_begun_is_refused(tmp_path):
    whole = suite_of()
    less = whole.model_copy(update={"cells": whole.cells[:1]})
    assert merged(whole, less, ["shots3"], "runs") == less
    with pytest.raises(UserError, match="axes: no cell shots5, which has begun; remove it with"):
        merged(whole, less, ["shots3", "shots5"], "runs")


def test_list_and_show_have_the_suite_and_its_cells(tmp_path, capsys):
    make_suite(tmp_path)
    begin(tmp_path, "shots3", FINISHED)
    where = ["--storage", str(tmp_path)]
    assert main(["list", *where]) == 0
    assert "table  INTERRUPTED    1/2" in capsys.readouterr().out
    assert main(["show", "table", *where]) == 0
    shown = capsys.readouterr().out
    assert "table · INTERRUPTED · 1 of 2 cells complete" in shown
    assert "NOT BEGUN" in shown
    assert main(["show", "table/shots3", *where]) == 0
    assert "table/shots3 · COMPLETE" in capsys.readouterr().out


def test_rm_takes_a_cell_and_a_suite_with_all_of_its_cells(tmp_path, capsys):
    folder = make_suite(tmp_path)
    begin(tmp_path, "shots3", FINISHED)
    begin(tmp_path, "shots5", FINISHED)
    where = ["--storage", str(tmp_path), "--yes"]
    assert main(["rm", "table/shots3", *where]) == 0
    assert [cell.state for cell in read_suite(str(tmp_path), "table").cells] == [
        "NOT BEGUN",
        "COMPLETE",
    ]
    assert main(["rm", "table", *where]) == 0
    assert not folder.path.exists()


def test_a_suite_that_is_run_is_not_removed(tmp_path, capsys):
    folder = make_suite(tmp_path)
    owner = FileOwner(folder.lock, "table")
    try:
        assert main(["rm", "table", "--storage", str(tmp_path), "--yes"]) == 2
    finally:
        owner.release()
    assert "stop it first: raysel stop table" in capsys.readouterr().err
    assert folder.suite.exists()


def test_gc_takes_what_ray_left_in_a_suites_folder(tmp_path):
    folder = make_suite(tmp_path)
    (folder.tune / "1").mkdir(parents=True)
    (folder.tune / "1" / "searcher").write_bytes(b"x" * 100)
    found = leftovers(str(tmp_path))
    assert [item.what for item in found.found] == ["table: Ray's own files"]
    assert remove(found.found) == []
    assert not folder.tune.exists()

"""A suite's file: its cells as sweeps, and their mistakes, each reported once."""

from __future__ import annotations

import pytest

from raysel.common.errors import UserError
from raysel.spec.reader import SweepFile, parse, parse_resolved
from raysel.spec.suite import Suite, is_suite, read_suite

FILE = """\
name: small
task:
  data: digits
model:
  name: resnet10t
strategies:
  full:
training:
  epochs: 3
  learning_rate: {float: [1e-3, 1e-1]}
axes:
  model.name: [resnet10t, resnet18]
  training.shots: [3, 5]
"""


def suite(text: str = FILE, *overrides: str, even_many: bool = False) -> Suite:
    return read_suite(SweepFile("suite.yaml", text, overrides), even_many)


def lines(text: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        suite(text, *overrides)
    return [str(problem) for problem in caught.value.problems]


def test_a_cell_is_the_sweep_with_its_values_in_place():
    found = suite(FILE, "training.epochs=7")
    assert [cell.spec.name for cell in found.cells] == [
        "small/resnet10t-shots3",
        "small/resnet10t-shots5",
        "small/resnet18-shots3",
        "small/resnet18-shots5",
    ]
    last = found.cells[-1].spec
    assert (last.model.name, last.training.shots, last.training.epochs) == ("resnet18", 5, 7)
    assert found.name == "small"


def test_the_file_of_a_cell_is_read_again_as_it_was():
    spec = suite().cells[0].spec
    assert parse_resolved(spec.to_yaml()) == spec


def test_only_a_file_with_axes_is_a_suite():
    assert is_suite(SweepFile("x", FILE))
    assert not is_suite(SweepFile("x", FILE.partition("axes")[0]))
    assert not is_suite(SweepFile("x", "{"))


def test_a_suite_in_the_place_of_a_sweep_and_a_cells_name_of_ones_own_are_refused():
    with pytest.raises(UserError, match="axes: make the file a suite of several sweeps"):
        parse(FILE)
    with pytest.raises(UserError, match='name: "a/b" is a cell\'s name in a suite; give a name'):
        parse(FILE.partition("axes")[0], ["name=a/b"])


def test_the_command_line_sets_an_axis_and_not_the_key_of_one():
    found = suite(FILE, "axes.training.shots=[10]", "axes.task.shift.severity=[1, 2]")
    assert [cell.name for cell in found.cells][:2] == [
        "resnet10t-shots10-severity1",
        "resnet10t-shots10-severity2",
    ]
    assert lines(FILE, "training.shots=4") == [
        '--set: training.shots is an axis; give its values, --set "axes.training.shots=[…]"'
    ]


def test_an_axis_over_a_searched_key_is_refused():
    (found,) = lines(FILE + "  training.learning_rate: [0.1, 0.01]\n")
    assert found == (
        "axes.training.learning_rate: is searched ({float: [0.001, 0.1]}); an axis is not: leave"
        " out one of the two (line 14)"
    )


def test_an_unknown_axis_has_the_nearest_key_once_for_all_cells():
    assert lines(FILE + "  training.epohcs: [1, 2]\n") == [
        'axes.training.epohcs: unknown key; did you mean "epochs"? (line 14)'
    ]


def test_a_mistake_of_some_cells_has_their_names_in_front():
    text = FILE.replace("[3, 5]", "[3, 0]")
    (found,) = lines(text)
    assert found.startswith(
        "cells resnet10t-shots0, resnet18-shots0: axes.training.shots: 0 is not accepted; give "
    )
    assert found.endswith("(line 13)")


def test_a_value_in_the_way_of_an_axis_is_named():
    assert lines(FILE + "  training.epochs.most: [1]\n") == [
        "axes.training.epochs.most: there is nothing below epochs, which has a value (line 14)"
    ]


def test_more_cells_than_a_thousand_are_asked_for():
    many = FILE.replace("[3, 5]", str(list(range(1, 502))))
    assert lines(many) == ["axes: 1,002 cells, each a sweep; more than 1,000 need --yes (line 11)"]
    assert len(suite(many, even_many=True).cells) == 1002


def test_a_name_that_is_no_folders_is_refused_for_the_suite():
    assert lines(FILE, "name=a b") == [
        'name: "a b" is not accepted; give 1 to 80 letters, digits, dots, underscores and dashes,'
        " a letter or digit first"
    ]

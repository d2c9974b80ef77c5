"""`axes:`: which cells a suite has, what they are called, and what is wrong, a line each."""

from __future__ import annotations

from typing import Any

import pytest

from raysel.common.errors import UserError
from raysel.common.paths import A_NAME
from raysel.spec.axes import Cell, parse_axes


def cells(axes: Any) -> list[Cell]:
    return parse_axes(axes).cells()


def names(axes: Any) -> list[str]:
    return [cell.name for cell in cells(axes)]


def lines(axes: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        cells(axes)
    return [str(problem) for problem in caught.value.problems]


def test_the_cells_are_the_product_and_the_last_axis_changes_fastest():
    found = cells({"model.name": ["a", "b"], "training.shots": [5, 20, 50]})
    assert [cell.name for cell in found][:4] == ["a-shots5", "a-shots20", "a-shots50", "b-shots5"]
    assert len(found) == 6
    assert found[4].settings == {"model.name": "b", "training.shots": 20}
    assert found[4].labels == ("b", "shots20")


def test_zipped_lists_are_walked_together():
    zipped = {"task.shift.kind": ["gaussian_noise", "label_flip"], "task.shift.severity": [5, 1]}
    found = cells({"zip": zipped, "model.name": ["a"]})
    assert [cell.settings["task.shift.severity"] for cell in found] == [5, 1]
    assert [cell.name for cell in found] == [
        "a-gaussian_noise-severity5",
        "a-label_flip-severity1",
    ]


def test_several_groups_are_zipped_each_by_itself():
    axes = {"zip": [{"a.x": [1, 2], "a.y": [3, 4]}, {"b.x": [5, 6], "b.y": [7, 8]}]}
    assert len(cells(axes)) == 4


def test_excluded_parts_are_left_out_be_they_values_or_their_names():
    axes = {"model.name": ["a", "b"], "training.shots": {"few": 5, "many": 50}}
    by_value = axes | {"exclude": [{"model.name": "a", "training.shots": 5}]}
    by_name = axes | {"exclude": [{"model.name": "a", "training.shots": "few"}]}
    assert names(by_value) == names(by_name) == ["a-many", "b-few", "b-many"]


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("model.name", "wide_resnet50_2.tv_in1k", "wide_resnet50_2.tv_in1k"),
        ("model.name", "hf_hub:timm/x-large", "x_large"),
        ("training.shots", 5, "shots5"),
        ("task.shift.severity", 0.25, "severity0.25"),
        ("confirm.until", None, "untilnull"),
        ("training.deterministic", True, "deterministictrue"),
        ("task.data", {"folder": "data/my flowers/"}, "my_flowers"),
        ("trace.diagnostics", ["a", "b"], "a_b"),
        ("model.name", "ü", "value"),
        ("model.name", "report", "report_"),
    ],
)
def test_a_cell_is_called_by_its_values(key, value, name):
    assert names({key: [value]}) == [name]


def test_the_name_of_a_cell_is_that_of_a_folder_however_long_the_values_are():
    long = ["x" * 200, "x" * 199 + "y"]
    found = names({f"{axis}.key": long for axis in "abcd"})
    assert len(set(found)) == 16
    assert all(A_NAME.fullmatch(name) for name in found)


def test_a_cell_keeps_its_name_when_values_are_added():
    before = names({"model.name": ["a", "b"], "training.shots": [5]})
    after = names({"model.name": ["c", "a", "b"], "training.shots": [20, 5]})
    assert set(before) < set(after)


@pytest.mark.parametrize(
    ("axes", "line"),
    [
        (None, "axes: give keys of the sweep file, each with a list of its values"),
        ({"model.name": []}, "axes.model.name: give a list of values, [a, b], or names with"),
        ({"model.name": "a"}, "axes.model.name: give a list of values, [a, b], or names with val"),
        ({"model.name": ["a", "a"]}, 'axes.model.name: "a" is there twice: its cells would be'),
        (
            {"task.data": [{"folder": "x/a"}, {"folder": "y/a"}]},
            'axes.task.data: 2 values would be called "a" in the names of cells; name them: {first',
        ),
        (
            {"zip": {"a.x": [1, 2], "b.y": [3]}},
            "axes.zip: lists that are walked together are of one length: a.x has 2, b.y has 1",
        ),
        ({"zip": [3]}, "axes.zip.0: give several keys, each with a list as long as the others"),
        ({"a.x": [1], "zip": {"a.x": [2]}}, "axes.a.x: is an axis twice"),
        ({"model": [{"name": "a"}], "model.name": ["a"]}, "axes.model.name: is below model, which"),
        ({"resources.cpus": [1, 2]}, "axes.resources.cpus: cannot be an axis: the workers are sh"),
        ({"name": ["a", "b"]}, "axes.name: cannot be an axis: the cells are named by their values"),
        (
            {"model.name": ["a"], "exclude": [{"model.nam": "a"}]},
            'axes.exclude.0.model.nam: is no axis; did you mean "model.name"?',
        ),
        (
            {"model.name": ["resnet18"], "exclude": {"model.name": "resnet19"}},
            'axes.exclude.model.name: "resnet19" is no value of this axis; did you mean "resnet18"',
        ),
        ({"model.name": ["a"], "exclude": [{"model.name": "a"}]}, "axes.exclude: leaves no cell"),
        ({"a.x": list(range(200)), "b.x": list(range(200))}, "axes: 40,000 combinations; 20,000"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(axes, line):
    (found,) = lines(axes)
    assert found.startswith(line)


def test_all_that_is_wrong_is_reported_together():
    found = lines({"model.name": [], "resources.cpus": [1], "zip": {"a.x": [1], "a.y": [1, 2]}})
    assert len(found) == 3

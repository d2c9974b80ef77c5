"""Layers that a text joins by `+`."""

from __future__ import annotations

import pytest

from raysel.models.partition_types import joined_layers


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ("a", ["a"]),
        ("a+c", ["a", "c"]),
        ("x.+", ["x.+"]),
        ("a+x.+", ["a", "x.+"]),
        ("x.++a", ["x.+", "a"]),
        ("a+b+c", ["a+b", "c"]),  # of two readings that with the longest first name
        ("b+a+b", ["b", "a+b"]),
        ("a+b+c+d", ["a", "b+c+d"]),  # a+b, c is none: d is left
        ("a+z", ["a", "z"]),  # what is none stays, to be named
        ("z", ["z"]),
        ("", [""]),
    ],
)
def test_names_that_hold_a_plus_are_known(block: str, found: list[str]) -> None:
    assert joined_layers(block, ["a", "b", "c", "x.+", "a+b", "b+c+d"]) == found

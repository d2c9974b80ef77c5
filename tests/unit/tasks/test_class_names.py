"""Names of classes that cannot be distinguished, or cannot be written."""

from __future__ import annotations

import os

import pytest

from raysel.common.errors import UserError
from raysel.tasks.class_names import check_names, missing_label_notes


@pytest.mark.parametrize("name", ["iris\ud800", os.fsdecode(b"caf\xe9")])
def test_a_name_that_is_no_text_is_refused(name):
    with pytest.raises(UserError, match="no UTF-8 text; rename it"):
        check_names(["daisy", name])


@pytest.mark.parametrize("name", ["NA", "?", "n/a", "None", "unlabeled", "no_label", "NaN"])
def test_a_class_that_is_called_as_a_missing_label_is_noted(name):
    (note,) = missing_label_notes(["daisy", name])
    assert note == f'class "{name}" looks like a missing label: leave those pictures out if so'
    assert not missing_label_notes(["daisy", "nap", "banana", "0", "unknown"])

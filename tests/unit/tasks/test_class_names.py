"""Names of classes that cannot be distinguished, or cannot be written."""

from __future__ import annotations

import os

import pytest

from raysel.common.errors import UserError
from raysel.tasks.class_names import check_names


@pytest.mark.parametrize("name", ["iris\ud800", os.fsdecode(b"caf\xe9")])
def test_a_name_that_is_no_text_is_refused(name):
    with pytest.raises(UserError, match="no UTF-8 text; rename it"):
        check_names(["daisy", name])

"""What holds for every unit test."""

import sys

import pytest
from few_kit import count
from hypothesis import settings

settings.register_profile("raysel", max_examples=count(25, 100), deadline=None)
settings.load_profile("raysel")


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Torch's global seed is the same at each test's start: measurements with random draws take
    theirs from it, and no test's result may depend on which others ran before it."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)

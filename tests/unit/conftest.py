"""What holds for every unit test."""

import os
import sys

import pytest
from few_kit import count
from hypothesis import settings

# Ray reads it when it is imported, for the whole process: a test of a client without a token must
# not depend on whether an earlier one imported the engine. No unit test starts Ray.
os.environ["RAY_AUTH_MODE"] = "disabled"

settings.register_profile("raysel", max_examples=count(25, 100), deadline=None)
settings.load_profile("raysel")


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Torch's global seed is the same at each test's start: measurements with random draws take
    theirs from it, and no test's result may depend on which others ran before it."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)

"""Label selectors are refused as Ray refuses them."""

import pytest
from ray._private.label_utils import validate_label_selector

from raysel.spec.node_labels import check_labels

LABELS = [
    {"ray.io/accelerator-type": "H100"},
    {"ray.io/accelerator-type": "!H100"},
    {"zone": "in(a, b)", "x.y": "!in(a,b)"},
    {"zone": ""},
    {"a": "x" * 63},
    {"a": "x" * 64},
    {"bad key!": "a"},
    {"-a": "b"},
    {"a": "b-"},
    {"a": "in()"},
    {"a": "!!in(a,"},
    {"a/b/c": "d"},
    {"a": "not(b)"},
    {"": "a"},
]


@pytest.mark.parametrize("labels", LABELS)
def test_as_ray_does(labels):
    refused = validate_label_selector(labels) is not None
    if refused:
        with pytest.raises(ValueError, match=r"is no (key|selector) of a label"):
            check_labels(labels)
    else:
        assert check_labels(labels) == labels


def test_ray_takes_some_and_refuses_others():
    assert {validate_label_selector(labels) is None for labels in LABELS} == {True, False}

"""YAML 1.2: a value is what it looks like, or is refused in one line with its line number."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raysel.spec import yaml_core
from raysel.spec.yaml_core import YamlError


@pytest.mark.parametrize(
    ("written", "value"),
    [
        # what YAML 1.1 reads as something else
        ("1:30", "1:30"),
        ("1:30:00", "1:30:00"),
        ("190:20:30.15", "190:20:30.15"),
        ("010", 10),
        ("-010", -10),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("2026-11-29", "2026-11-29"),
        ("2026-11-29 10:00:00", "2026-11-29 10:00:00"),
        ("=", "="),
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-1e+3", -1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1.5e3", 1500.0),
        ("+12", 12),
        ("0o10", 8),
        ("0x1F", 31),
        ("1e", "1e"),
        ("1.2.3", "1.2.3"),
        ("<<", "<<"),
        # what both read alike
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("'010'", "010"),
        ("!!str 010", "010"),
        ("!!float 3", 3.0),
        ("!!int 3", 3),
        ("", None),
    ],
)
def test_a_value_is_what_it_looks_like(written, value):
    found = yaml_core.read(f"x: {written}")
    assert found["x"] == value and type(found["x"]) is type(value)


def test_nan_is_a_number():
    assert math.isnan(yaml_core.read(".nan"))


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(9 * [f'*{a}'])}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join(20 * [f'*{a}'])}]}}\n"
    for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("x: 1\ny: !!bool abc", '"abc" is no !!bool', 2),
        ("x: 1\ny: !!int abc", '"abc" is no !!int', 2),
        ("y: !!float 1:30", '"1:30" is no !!float', 1),
        ("y: !!null x", '"x" is no !!null', 1),
        ("y: !!timestamp abc", "the tag !!timestamp is refused", 1),
        ("y: !!timestamp 2026-11-29", "the tag !!timestamp is refused", 1),
        ("y: !!binary abc", "the tag !!binary is refused", 1),
        ("\n\ny: !!set {a, b}", "the tag !!set is refused", 3),
        ("y: !!omap [a: 1]", "the tag !!omap is refused", 1),
        ("y: !!pairs [a: 1]", "the tag !!pairs is refused", 1),
        ("y: !!map [1]", "the tag !!map is refused", 1),
        ("y: !!seq x", "the tag !!seq is refused", 1),
        ("y: !!python/object/apply:os.system [ls]", "the tag !!python/object/apply:os.system", 1),
        ("y: !own x", "the tag !own is refused", 1),
        ("y: !<tag:example.org,2000:x> x", "the tag tag:example.org,2000:x is refused", 1),
        ("a: 1\nb: &b [*b]", "an anchor holds itself", 2),
        ("a: &a {b: *a}", "an anchor holds itself", 1),
        (LAUGHS, "holds more than 100,000 values", 6),
        (MERGES, "holds more than 100,000 values", 5),
        ("a: 1\na: 2", "is given twice in one place", 2),
        ("a: 1\n'a': 2", "is given twice in one place", 2),
        ("a: {b: 1, b: 2}", "is given twice in one place", 1),
        ("1: a", 'is not a word; put it in quotes as a key: "1"', 1),
        ("a:\n  true: b", 'is not a word; put it in quotes as a key: "true"', 2),
        ("~: b", "is not a word", 1),
        ("? [a, b]\n: c", "a key must be a word", 1),
        ("{a: b}: c", "a key must be a word", 1),
        ("a: 1\n\tb: 2", "is not YAML", 2),
        ("a: 1\n--- \nb: 2", "is not YAML: but found another document", 2),
        ("%YAML 3.0\n---\na: 1", "is not YAML: found incompatible YAML document", 1),
        ("a: 1\nb: \0", "holds a character that YAML does not allow (#x0000)", 2),
        ("a: \x1b[31m", "holds a character that YAML does not allow (#x001b)", 1),
        ('a: "\\e[31m"', "a text holds the control character #x1b", 1),
        ('a: "\\0"', "a text holds the control character #x00", 1),
        ('a: "\\ud800"', "a text holds the control character #xd800", 1),
        ('a: "\\UFFFFFFFF"', "is not YAML", None),
        ("a: " + "[" * 60 + "]" * 60, "is nested too deep", 1),
        ("a: " + "[" * 5000 + "]" * 5000, "is nested too deep", None),
        ("- " * 5000, "is nested too deep", None),
        ("a: " + "9" * 500, "a number of 500 digits is not read", 1),
        ("a: " + "9" * 5000, "a number of 5000 digits is not read", 1),
        ("a: " + "x" * 20_000, "a text of 20,000 characters is not read", 1),
        ("a: <<\nb: {<<: 1}", "is not YAML: expected a mapping", 2),
    ],
)
def test_what_is_not_read_is_refused_with_its_line(text, message, line):
    with pytest.raises(YamlError) as raised:
        yaml_core.read(text)
    assert message in str(raised.value)
    assert raised.value.line == line
    assert "\n" not in str(raised.value)


def test_depth_is_counted_through_anchors():
    text = "".join(f"{b}: &{b} {'[' * 30}*{a}{']' * 30}\n" for a, b in ("ab", "bc"))
    with pytest.raises(YamlError, match="nested too deep"):
        yaml_core.read(f"a: &a 1\n{text}")


def test_anchors_and_merge_keys_are_read():
    text = "base: &base {epochs: 1, seed: 2}\nown: {<<: *base, seed: 3}\nsame: *base\n"
    assert yaml_core.read(text)["own"] == {"epochs": 1, "seed": 3}


@pytest.mark.parametrize("text", ["\ufeffa: 1\r\nb: 2\r\n", "a: 1\rb: 2\r", "---\na: 1\nb: 2\n..."])
def test_a_byte_order_mark_and_the_line_ends_of_other_systems_are_read(text):
    assert yaml_core.read(text) == {"a": 1, "b": 2}


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20),
    st.sampled_from(["010", "1e-4", "0o10", "1:30", "yes", "~", "<<", "null", "", " x ", "a: b"]),
)
KEYS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
VALUES = st.recursive(
    PLAIN, lambda v: st.lists(v, max_size=4) | st.dictionaries(KEYS, v), max_leaves=8
)


@given(st.dictionaries(KEYS, VALUES))
def test_what_is_written_is_read_back(value):
    text = yaml_core.write(value)
    assert yaml_core.read(text) == value
    assert yaml_core.read(yaml_core.in_a_line({"value": value})) == {"value": value}


@given(st.dictionaries(KEYS, st.text(st.characters(exclude_categories=["Cc", "Cs"]))))
def test_text_stays_text_for_readers_of_yaml_1_1(value):
    assert yaml.safe_load(yaml_core.write(value)) == value

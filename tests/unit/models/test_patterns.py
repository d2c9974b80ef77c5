"""A pattern of a sweep file costs bounded time and memory, whatever it is."""

import os
import resource
import subprocess
import sys
import time

import pytest
from few_kit import few

from raysel.models import patterns
from raysel.models.patterns import PatternError, compiled, found_in

LONG = ["layer1.0." + "a" * 40 + "!"] * 50


@pytest.mark.parametrize("pattern", few("(a|aa)+$", "(?R)"))
def test_a_pattern_that_takes_exponential_time_is_refused(pattern, monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 0.2)  # which the search is given, whatever it is
    began = time.process_time()
    with pytest.raises(PatternError, match=r"takes more than 0\.2 s"):
        found_in(pattern, LONG)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*x", "(a|a)*b", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_a_pattern_that_hangs_the_standard_library_ends(pattern):
    began = time.process_time()
    assert found_in(pattern, LONG) == set()
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a{99999999999999999999}", "repeats more than 10,000 times"),
        ("a{1000000000}", "repeats more than 10,000 times"),
        ("a{,1000000000}", "repeats more than 10,000 times"),
        ("((a{99}){99}){99}", "repeats more than 10,000 times"),
        ("a" * 1001, "has 1,001 characters; 1,000 at most"),
        ("(" * 450 + ")" * 450, "nested too deep"),
        ("(", "is not a regular expression: missing )"),
        ("[a", "is not a regular expression"),
        ("*a", "is not a regular expression"),
        ("(?P<a", "is not a regular expression"),
    ],
)
def test_a_pattern_that_is_none_or_too_large_is_refused(pattern, why):
    with pytest.raises(PatternError) as raised:
        compiled(pattern)
    assert why in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("conv1|bn1", {"conv1.weight", "bn1.weight"}),
        (r"^layer[12]\.", {"layer1.0.weight", "layer2.0.weight"}),
        (r"(?<!layer2)\.0", {"layer1.0.weight"}),
        (r"layer\d{1,2}", {"layer1.0.weight", "layer2.0.weight"}),
        (".*", {"conv1.weight", "bn1.weight", "layer1.0.weight", "layer2.0.weight", "fc.bias"}),
    ],
)
def test_ordinary_patterns_find_what_they_found(pattern, names):
    given = ["conv1.weight", "bn1.weight", "layer1.0.weight", "layer2.0.weight", "fc.bias"]
    assert found_in(pattern, given) == names


FILE = """
name: x
task: {data: digits}
model: {name: test_resnet, partition: [%s]}
strategies: {full: }
"""


@pytest.mark.slow
@pytest.mark.parametrize("patterns", ["'((.{99}){99}){99}', '.*'", "'(a+)+$', '(.*)*x', '.*'"])
def test_validate_ends_in_a_line_and_in_bounded_memory(tmp_path, patterns):
    (tmp_path / "x.yaml").write_text(FILE % patterns)
    ended = subprocess.run(
        [sys.executable, "-m", "raysel", "validate", "x.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30)),
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error  model.partition")
    assert ended.stderr.count("\n") == 1

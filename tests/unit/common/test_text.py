"""Text from outside is safe to show: no escape sequence, no forged line, no megabyte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysel.common import text
from raysel.common.errors import OperationalError, Problem, nearest


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("plain, näive, 漢字, 👩‍🚀", "plain, näive, 漢字, 👩‍🚀"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\nverdict  forged", r"a\nverdict  forged"),
        ("tab\tand\rreturn", r"tab\tand\rreturn"),
        ("cat\u202egpj.exe", r"cat\u202egpj.exe"),
        ("\u2066isolate\u2069", r"\u2066isolate\u2069"),
        ("\x9b31m", r"\x9b31m"),
        ("lines\u2028and\u2029paragraphs", r"lines\u2028and\u2029paragraphs"),
        ("bytes \udcff", r"bytes \udcff"),
        ("\ufeffmark", r"\ufeffmark"),
    ],
)
def test_what_does_not_print_is_escaped(given_text, shown):
    assert text.printable(given_text) == shown


@given(st.text(st.characters(codec=None), max_size=300), st.integers(40, 200))
def test_a_line_is_one_line_of_bounded_length_without_controls(value, most):
    line = text.one_line(value, most)
    assert len(line) <= most + 40
    assert line.splitlines() in ([line], [])
    assert not any(ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0 for sign in line)


def test_a_long_text_keeps_its_two_ends_and_says_what_is_left_out():
    line = text.one_line(f"begins {'x' * 1_000_000} ends", 90)
    assert line.startswith("begins xxx")
    assert line.endswith("xxx ends")
    assert "… 999,930 more characters …" in line
    assert len(line) < 130


@given(st.text(st.characters(codec=None)))
def test_json_loses_nothing_and_prints_nothing_that_steers_a_terminal(value):
    written = text.json_text({"key": value, "list": [value]}, indent=2)
    assert json.loads(written) == {"key": value, "list": [value]}
    assert text.printable(written.replace("\n", "")) == written.replace("\n", "")


def test_json_in_ascii_and_without_numbers_that_json_has_not():
    assert text.json_text({"é": [float("nan"), float("inf"), 1.5]}, ascii_only=True) == (
        '{"\\u00e9": [null, null, 1.5]}'
    )


def test_signs_that_an_encoding_lacks_are_replaced():
    assert "a · b – ◂ … ±2".encode("ascii", text.ENCODING_ERRORS) == b"a - b - < ... +-2"
    assert "jürgen 漢".encode("ascii", text.ENCODING_ERRORS) == rb"j\xfcrgen \u6f22"


def test_a_problem_and_a_failure_quote_safely_and_briefly():
    problem = Problem("task.data\n", f'"{"y" * 20_000}\x1b[2J" is no column; did you mean "label"?')
    assert str(problem).startswith('task.data\\n: "yyy')
    assert str(problem).endswith('\\x1b[2J" is no column; did you mean "label"?')
    assert len(str(problem)) < 1_100
    assert len(problem.message) < 1_050  # validate --json shows the field itself
    assert str(OperationalError("a\x1bb", "c\nd")) == r"a\x1bb: c\nd"


def test_a_hint_lists_safely_and_briefly():
    hint = nearest("zzz", ["a\x1b[1m", "b" * 5_000])
    assert hint.startswith(r"there is a\x1b[1m, bbb")
    assert len(hint) < 200


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (ValueError("\n \n late"), "late"),
    ],
)
def test_the_first_line_of_an_exception(error, said):
    assert text.first_line(error) == said


def test_advice_about_a_number_of_thousands_of_digits_is_not_passed_on():
    with pytest.raises(ValueError, match="set_int_max_str_digits") as to_int:
        int("9" * 5000)
    assert text.first_line(to_int.value) == "a number of 5000 digits is not read"
    with pytest.raises(ValueError, match="set_int_max_str_digits") as to_text:
        str(10**5000)
    assert text.first_line(to_text.value) == "a number of more than 4300 digits is not read"

"""Small plots for a terminal."""

from raysel.report.plot import curves, sparkline


def test_a_sparkline_is_a_character_a_value():
    assert sparkline([0.0, 1.0, None, float("nan")]) == "▁█··"


def test_what_moved_at_all_is_not_drawn_as_nothing():
    assert sparkline([0.0, 0.001]) == "▁▂"


def test_a_sparkline_is_scaled_to_its_top():
    assert sparkline([0.0, 5.0], top=5.0) == "▁█"


def test_curves_put_the_largest_value_on_top_and_the_last_epoch_right():
    lines = curves({"a": [4.0, 3.0, 2.0], "b": [None, 2.0, 4.0]}, width=60, height=5)
    drawn = [line.split("┤")[1] for line in lines if "┤" in line]
    assert drawn[0] == "●          ○"  # epochs 1 and 3, four characters an epoch
    assert drawn[-1] == "      ○    ●"
    assert lines[0].startswith("4 ┤") and lines[4].startswith("2 ┤")
    assert lines[-1].split() == ["●", "a", "○", "b"]


def test_one_epoch_is_one_line():
    lines = curves({"a": [0.25]})
    assert [line for line in lines if "┤" in line] == ["0.25 ┤●"]


def test_no_finite_value_draws_nothing():
    assert curves({"a": [None, float("inf")], "b": []}) == []

"""`raysel report`: of one sweep its own page anew, of several a page that compares them."""

import json
from pathlib import Path

import pytest
from comparison_kit import FILE
from view_kit import make

from raysel.cli.main import main
from raysel.report import comparison, figures


@pytest.fixture
def storage(results, tmp_path, monkeypatch):
    """Two sweeps that ended; a figure each is enough here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "FIGURES", {"explored": figures.FIGURES["explored"]})
    kept = {"weights_by_shift": comparison.FIGURES["weights_by_shift"]}
    monkeypatch.setattr(comparison, "FIGURES", kept)
    for name in ("one", "two"):
        folder = make(tmp_path / "runs", name).path
        (folder / "spec.yaml").write_text(FILE.replace("name: digits", f"name: {name}", 1))
        (folder / "results.json").write_text(json.dumps(results | {"name": name}))
    return tmp_path / "runs"


def test_one_sweeps_report_is_made_anew_in_its_folder(storage, capsys):
    assert main(["report", "one"]) == 0
    page = storage / "one" / "report" / "index.html"
    assert capsys.readouterr().out.strip().endswith("runs/one/report/index.html")
    text = page.read_text(encoding="utf-8")
    assert "<h1>one</h1>" in text
    assert "mlflow ui --backend-store-uri sqlite:///" in text


def test_several_are_set_side_by_side(storage, tmp_path, capsys):
    assert main(["report", "two", "one"]) == 0
    page = storage / "comparison" / "index.html"
    assert capsys.readouterr().out.strip().endswith("comparison/index.html")
    text = page.read_text(encoding="utf-8")
    assert "2 sweeps side by side" in text
    assert text.index(">two<") < text.index(">one<")
    assert main(["report", "one", "two", "--to", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere" / "index.html").is_file()


@pytest.mark.parametrize(
    ("sweeps", "link"),
    [
        (["one"], "one/report"),
        (["one"], "one/report/figures"),
        (["one", "two"], "comparison"),
        (["one", "two"], "comparison/figures"),
    ],
)
def test_nothing_is_written_behind_a_link(storage, tmp_path, sweeps, link):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("index.html", "explored.png", "weights_by_shift.png"):
        (elsewhere / name).write_text("mine")
    before = {path: path.read_text() for path in elsewhere.iterdir()}
    (storage / link).parent.mkdir(exist_ok=True)
    (storage / link).symlink_to(elsewhere)
    assert main(["report", *sweeps]) == 0
    assert {path: path.read_text() for path in elsewhere.iterdir()} == before
    assert not (storage / link).is_symlink()
    assert any((storage / link).iterdir())


def test_a_folder_that_was_asked_for_may_be_a_link(storage, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "pages").symlink_to(tmp_path / "disk")
    assert main(["report", "one", "two", "--to", str(tmp_path / "pages")]) == 0
    assert (tmp_path / "disk" / "index.html").is_file()


@pytest.mark.parametrize(
    ("sweeps", "page", "figure"),
    [
        (["one"], "runs/one/report/index.html", "runs/one/report/figures/explored.png"),
        (
            *(["one", "two"], "runs/comparison/index.html"),
            "runs/comparison/figures/weights_by_shift.png",
        ),
    ],
)
def test_as_json_it_says_where_the_page_is_and_what_it_holds(storage, capsys, sweeps, page, figure):
    assert main(["report", *sweeps, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sweeps"] == sweeps
    assert found["report"].endswith(page)
    (shown,) = found["figures"]
    assert shown.endswith(figure)
    assert Path(shown).is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["thre", "one"], 2, 'thre: there is no sweep of that name in runs/; did you mean "three"'),
        (["three", "one"], 1, "three: has no results yet; go on with: raysel resume three"),
        (["one", "--to", "x"], 2, "--to: the report of one sweep lies in its own folder"),
        (["four"], 1, "runs/four/results.json: cannot be read: "),
    ],
)
def test_what_cannot_be_shown_is_one_line(storage, capsys, arguments, code, line):
    for name in ("three", "four"):
        make(storage, name)
        (storage / name / "spec.yaml").write_text(FILE.replace("name: digits", f"name: {name}", 1))
    (storage / "four" / "results.json").write_text("{")
    assert main(["report", *arguments]) == code
    (reported,) = capsys.readouterr().err.splitlines()
    assert reported.startswith("error  ") and line in reported


HOSTILE = "\x1b]0;owned\x07\u202e<b>bold</b>\nverdict  forged " + "x" * 1_000_000


@pytest.mark.parametrize("sweeps", [["one"], ["one", "two"]])
def test_text_of_a_stranger_is_safe_and_short_on_the_page(storage, capsys, sweeps):
    """As somebody else's results.json may have it: escape sequences, a megabyte, forged lines."""
    path = storage / "one" / "results.json"
    results = json.loads(path.read_text())
    results |= {"name": HOSTILE, "description": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    results["verdict"] |= {"sentence": HOSTILE}
    results["layers"][0] = HOSTILE
    results["confirm"][0]["label"] = HOSTILE
    for trial in results["trials"]:
        trial |= {"cause": HOSTILE, "searched": {HOSTILE: HOSTILE}}
    path.write_text(json.dumps(results))
    assert main(["report", *sweeps]) == 0
    page = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    assert not any(sign in page for sign in ("\x1b", "\x07", "\u202e", "<b>bold", "x" * 1_001))
    assert len(page) < 1_000_000
    if len(sweeps) == 1:
        assert r"\x1b]0;owned\x07\u202e&lt;b&gt;bold&lt;/b&gt;\nverdict  forged xxx" in page

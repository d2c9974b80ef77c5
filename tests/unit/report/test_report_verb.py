"""`raysel report`: of one sweep its own page anew, of several a page that compares them."""

import errno
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from comparison_kit import FILE
from few_kit import several
from view_kit import make

from raysel.cli.main import main
from raysel.report import comparison, figures, table_files

PDFLATEX = shutil.which("pdflatex")


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


def as_an_older_raysel_wrote(results):
    """One split, the training seeds alone, and the verdict of then."""
    older = {key: value for key, value in results.items() if key not in ("effort", "improvement")}
    for row in older["confirm"]:
        for run in row["runs"]:
            run.pop("split"), run.pop("source_seed", None)
    new = ("lowest", "level", "smallest_effect", "splits", "contrasts", "against_baseline")
    verdict = {key: value for key, value in older["verdict"].items() if key not in new}
    older["verdict"] = verdict | {"outcome": "not_proven", "sentence": "Not proven by 5 seeds."}
    return older


def test_the_report_of_an_older_raysels_results_says_what_they_lack(storage, results, capsys):
    assert main(["report", "one"]) == 0
    page = storage / "one" / "report" / "index.html"
    assert "An older raysel" not in page.read_text(encoding="utf-8")
    older = as_an_older_raysel_wrote(results)
    (storage / "one" / "results.json").write_text(json.dumps(older | {"name": "one"}))
    assert main(["report", "one"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Not proven by 5 seeds." in text and "not proven" in text
    for lacks in (
        "the tuning that each strategy&#39;s configuration rests on",
        "runs on other splits of the data",
        "difference from full fine-tuning",
        "each run&#39;s answers to the test examples",
    ):
        assert lacks in text
    assert main(["report", "one", "two"]) == 0
    for verb in (["list"], ["show", "one"], ["list", "--json"], ["show", "one", "--json"]):
        assert main(verb) == 0


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
    several(
        1,
        [
            (["one"], "one/report"),
            (["one"], "one/report/figures"),
            (["one", "two"], "comparison"),
            (["one", "two"], "comparison/figures"),
        ],
    ),
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
    several(
        1,
        [
            (["one"], "runs/one/report/index.html", "runs/one/report/figures/explored.png"),
            (
                *(["one", "two"], "runs/comparison/index.html"),
                "runs/comparison/figures/weights_by_shift.png",
            ),
        ],
    ),
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
        (["one", "--to", "x"], 2, "--to: is for the comparison of several sweeps; the report of"),
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


@pytest.mark.parametrize(
    ("sweeps", "tables", "figure"),
    [
        (["one"], {"differences", "confirmed", "cost", "trials"}, "explored"),
        (["one", "two"], {"found", "errors"}, "weights_by_shift"),
    ],
)
def test_tables_and_figures_for_a_paper(storage, tmp_path, capsys, sweeps, tables, figure):
    """They stand in a new folder, and the document that inputs them compiles."""
    target = tmp_path / "paper" / "new"
    assert main(["report", *sweeps, "--tables", str(target)]) == 0
    page, document = capsys.readouterr().out.splitlines()
    assert page.endswith("index.html") and document == f"{target}/tables.tex"
    texts = {path.stem for path in target.glob("*.tex")} - {"tables"}
    assert texts == {path.stem for path in target.glob("*.csv")} >= tables
    inputs = {f"\\input{{{name}}}" for name in texts}
    assert inputs <= set((target / "tables.tex").read_text().splitlines())
    assert (target / "figures" / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    assert (target / "figures" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert not list(target.rglob("*.partial"))
    if PDFLATEX is None:
        pytest.skip("no pdflatex (Debian: texlive-latex-recommended): not compiled")
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.slow
def test_the_files_of_before_are_replaced_and_others_stay(storage, tmp_path):
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "mine.tex").write_text("mine")
    (tmp_path / "paper" / "trials.csv").write_text("old")
    for _ in range(2):
        assert main(["report", "one", "--tables", str(tmp_path / "paper")]) == 0
    assert (tmp_path / "paper" / "mine.tex").read_text() == "mine"
    assert (tmp_path / "paper" / "trials.csv").read_text().startswith("id,strategy,")
    assert "mine" not in (tmp_path / "paper" / "tables.tex").read_text()


def test_as_json_it_lists_the_files_and_the_ranks(storage, tmp_path, capsys):
    target = tmp_path / "paper"
    assert main(["report", "one", "two", "--tables", str(target), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(Path(path).is_file() for path in found["tables"])
    assert str(target / "errors.csv") in found["tables"]
    assert found["ranks"]["sweeps"] == 2 and found["ranks"]["critical_difference"] is None
    assert found["ranks"]["mean"]["full"] >= 1
    assert found["ranks"]["lacks"].endswith("3 more sweeps.")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("file", "--tables: {}/file cannot be written: {}/file is not a folder"),
        ("file/below", "--tables: {}/file/below cannot be written: {}/file is not a folder"),
        ("runs/one/paper", "lies in a sweep ({}/runs/one); give a folder outside"),
    ],
)
def test_a_folder_that_cannot_take_tables_is_one_line(storage, tmp_path, capsys, place, line):
    (tmp_path / "file").write_text("mine")
    assert main(["report", "one", "--tables", str(tmp_path / place)]) == 2
    (reported,) = capsys.readouterr().err.splitlines()
    assert line.format(*[tmp_path] * line.count("{}")) in reported
    assert (tmp_path / "file").read_text() == "mine"
    assert not (storage / "one" / "report").exists()


def test_a_disk_that_fills_up_is_one_line(storage, tmp_path, capsys, monkeypatch):
    def full(path, _):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(table_files, "write_whole", full)
    assert main(["report", "one", "--tables", str(tmp_path / "paper")]) == 1
    (reported,) = capsys.readouterr().err.splitlines()
    assert reported.startswith("error  the disk is full; make space") and "paper" in reported


HOSTILE = "\x1b]0;owned\x07\u202e<b>bold</b>\nverdict  forged " + "x" * 1_000_000


@pytest.mark.parametrize("sweeps", several(1, [["one"], ["one", "two"]]))
def test_text_of_a_stranger_is_safe_and_short_on_the_page(storage, capsys, sweeps):
    """As somebody else's results.json may have it: escape sequences, a megabyte, forged lines."""
    path = storage / "one" / "results.json"
    results = json.loads(path.read_text())
    results |= {"name": HOSTILE, "description": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    results["verdict"] |= {"sentence": HOSTILE}
    results["layers"][0] = HOSTILE
    results["confirm"][0]["label"] = HOSTILE
    shorter = HOSTILE[:50_000]  # of each of 40 trials: any in full would make the page too long
    for trial in results["trials"]:
        trial |= {"cause": shorter, "searched": {shorter: shorter}}
    path.write_text(json.dumps(results))
    assert main(["report", *sweeps]) == 0
    page = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    assert not any(sign in page for sign in ("\x1b", "\x07", "\u202e", "<b>bold", "x" * 1_001))
    assert len(page) < 1_000_000
    if len(sweeps) == 1:
        assert r"\x1b]0;owned\x07\u202e&lt;b&gt;bold&lt;/b&gt;\nverdict  forged xxx" in page


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex (Debian: texlive-latex-recommended)")
def test_tables_of_a_stranger_compile(storage, tmp_path):
    path = storage / "one" / "results.json"
    results = json.loads(path.read_text())
    strange = "\\input{/etc/passwd} $& % _ # ~ ^ \u65e5"
    results["layers"][0] = strange
    for trial in results["trials"]:
        trial |= {"cause": strange, "searched": {strange: strange}}
    path.write_text(json.dumps(results))
    assert main(["report", "one", "--tables", str(tmp_path / "paper")]) == 0
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(
        command, cwd=tmp_path / "paper", capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "/etc/passwd)" not in done.stdout  # no file of the machine was read

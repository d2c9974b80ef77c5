"""LaTeX tables: escaped, with as many columns in each row, and they compile."""

import re
import shutil
import subprocess

import pytest

from raysel.report.latex import all_tables, latex_text, to_latex
from raysel.report.table import Table, make, to_csv

PDFLATEX = shutil.which("pdflatex")
HOSTILE = '50 % & more_of $x$ #1 {a} \\input{/etc/passwd} ~^ <b> "q" [z] | *'
SIGNS = "−2.3 ± 0.4 → ≤ · × ◂ – … ’ é Ä ñ č ß ø 日本 🦆 \u202e"


def table(rows=((HOSTILE, "1"), (SIGNS, "2")), name="odd") -> Table:
    made = make(
        name,
        "Odd",
        f"All of {HOSTILE} and {SIGNS}",
        {"text_%": False, "n": True},
        [(words, {"text": words[0], "n": int(words[1])}) for words in rows],
    )
    assert made is not None
    return made


def body(latex: str) -> list[str]:
    """The lines of cells."""
    inside = latex.split("\\toprule", 1)[1]
    return [line for line in inside.splitlines() if line.rstrip().endswith("\\\\")]


@pytest.mark.parametrize("count", [2, 40])
def test_environments_are_balanced_and_each_row_has_all_columns(count):
    latex = to_latex(table([(HOSTILE, "1"), (SIGNS, "2")] * (count // 2)), "my sweep")
    open_ones = []
    for kind, name in re.findall(r"(?<!\\)\\(begin|end)\{(\w+)\}", latex):
        open_ones.append(name) if kind == "begin" else None
        assert kind == "begin" or open_ones.pop() == name
    assert not open_ones
    rows = [row for row in body(latex) if not re.search("multicolumn|caption", row)]
    assert len(rows) in (count + 1, count + 2)  # the head, twice in a long table
    assert all(len(re.findall(r"(?<!\\)&", row)) == 1 for row in rows)
    assert r"\label{tab:my-sweep-odd}" in latex and r"\caption{" in latex
    assert ("longtable" in latex.split("\n", 1)[1]) == (count == 40)


def test_text_is_escaped():
    assert latex_text("a_b & 5 %") == r"a\_b \& 5 \%"
    assert latex_text("\\end{x}") == r"\textbackslash{}end\{x\}"
    assert latex_text("−2 ± 1") == r"$-$2 $\pm$ 1"
    assert latex_text("Zoë čaj") == r"Zo\"{e} \v{c}aj"
    assert latex_text("日") == "{[}U+65E5{]}"


def test_a_column_of_long_text_is_a_paragraph_and_numbers_stand_right():
    assert r"}p{5.5cm}r}" in to_latex(table(), "s")
    assert r"{lr}" in to_latex(table([("short", "1")]), "s")


def test_a_table_wider_than_a_page_is_shrunk_to_the_line():
    heads = {f"sweep {number}": True for number in range(12)}
    wide = make("x", "X", "x", heads, [(["0.261 ± 0.026"] * 12, {})])
    latex = to_latex(wide, "s")
    assert "\\resizebox{\\linewidth}{!}{%\n\\begin{tabular}" in latex
    assert "\\end{tabular}}" in latex
    assert "resizebox" not in to_latex(table(), "s")


def test_a_table_without_rows_is_none():
    assert make("x", "X", "x", {"a": False}, []) is None


def test_a_row_with_a_cell_too_many_is_refused():
    with pytest.raises(ValueError, match="number of cells"):
        table([("a", "1", "2")])


def test_csv_holds_values_and_leaves_out_what_is_missing():
    made = Table("x", "X", "x", ("a",), (("1",), ("2",)), frozenset(), ({"a": 0.1}, {"b": 'q"'}))
    assert to_csv(made) == 'a,b\n0.1,\n,"q"""\n'


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex (Debian: texlive-latex-recommended)")
def test_the_document_compiles(tmp_path):
    wide = make("wide", "X", "x", {str(n): True for n in range(12)}, [([SIGNS] * 12, {})])
    made = [table(), table([(HOSTILE, "1"), (SIGNS, "2")] * 30, "long"), wide]
    for one in made:
        (tmp_path / f"{one.name}.tex").write_text(to_latex(one, "s"), encoding="utf-8")
    (tmp_path / "tables.tex").write_text(all_tables(one.name for one in made), encoding="utf-8")
    compiled(tmp_path)


def compiled(folder) -> str:
    """What pdflatex says; it stops at the first error."""
    done = subprocess.run(
        [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "tables.tex"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "tables.pdf").read_bytes().startswith(b"%PDF")
    return done.stdout

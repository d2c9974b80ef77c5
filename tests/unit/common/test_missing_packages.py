"""A package that a sweep needs and that is not installed is one line that says how to get it."""

import sys

import pytest
from few_kit import several

from raysel.cli import main
from raysel.cli.arguments import checked_for_there

FILE = """
name: x
task: {data: digits, split: {train: 60, validation: 60, test: 60}}
model: {name: test_resnet}
strategies: {full: }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "x.yaml").write_text(FILE)
    return tmp_path


@pytest.mark.parametrize("verb", ["validate", "plan", "run", "doctor", "finetune"])
def test_a_record_in_postgresql_needs_its_driver(folder, monkeypatch, capsys, verb):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # how Python marks what cannot be imported
    assert main.main([verb, "x.yaml", "--set", "database_url=postgresql://bob@host/db"]) == 2
    reported = capsys.readouterr().err
    assert reported == (
        "error  database_url: needs the package psycopg, which is not installed:"
        ' pip install "raysel[postgres]"\n'
    )
    assert [path.name for path in folder.iterdir()] == ["x.yaml"]


@pytest.mark.parametrize("verb", ["resume", "show", "reconcile", "rm"])
def test_a_sweep_whose_record_is_in_postgresql_needs_it_too(folder, monkeypatch, capsys, verb):
    (folder / "runs" / "x").mkdir(parents=True)
    (folder / "runs" / "x" / "spec.yaml").write_text(
        f"{FILE}database_url: postgresql://bob@host/db\n"
    )
    (folder / "runs" / "x" / "manifest.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert main.main([verb, "x", *(["--yes"] if verb == "rm" else [])]) != 0
    reported = capsys.readouterr().err
    assert "raysel[postgres]" in reported and reported.count("\n") == 1
    assert (folder / "runs" / "x" / "spec.yaml").is_file()


@pytest.mark.parametrize(
    ("uri", "package"),
    several(
        2,
        [
            ("postgresql+psycopg://bob@host/db", "raysel[postgres]"),
            ("postgresql+psycopg2://bob@host/db", "psycopg2-binary"),
            ("mysql+pymysql://bob@host/db", "pymysql"),
            ("mssql+pyodbc://bob@host/db", "pyodbc"),
        ],
    ),
)
def test_so_does_mlflows_database(folder, monkeypatch, capsys, uri, package):
    for name in ("psycopg", "psycopg2", "pymysql", "pyodbc"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main.main(["validate", "x.yaml", "--set", f"tracking.uri={uri}"]) == 2
    reported = capsys.readouterr().err
    assert reported.startswith("error  tracking.uri: needs the package ")
    assert reported.endswith(f'pip install "{package}"\n')


def test_a_driver_that_there_is_not_is_reported(folder, capsys):
    assert main.main(["validate", "x.yaml", "--set", "tracking.uri=mysql+foo://host/db"]) == 2
    assert "SQLAlchemy knows no driver mysql+foo" in capsys.readouterr().err


@pytest.mark.parametrize(("scheme", "name"), [("s3", "S3FileSystem"), ("gs", "GcsFileSystem")])
def test_a_pyarrow_without_the_bucket_is_reported(folder, monkeypatch, capsys, scheme, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    import pyarrow.fs

    monkeypatch.delattr(pyarrow.fs, name)
    assert main.main(["validate", "x.yaml", "--set", f"storage={scheme}://bucket/x"]) == 2
    assert f"error  storage: this pyarrow was built without {name}" in capsys.readouterr().err


def test_a_sweep_for_a_cluster_needs_none_of_them_here(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    record, uri = "postgresql://bob@host/db", "postgresql+psycopg://bob@host/db"
    spec = checked_for_there(folder / "x.yaml", [f"database_url={record}", f"tracking.uri={uri}"])
    assert (spec.database_url, spec.tracking.uri, spec.storage) == (record, uri, "runs")

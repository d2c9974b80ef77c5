"""One rule for whatever is a path: the keys of the sweep file, --set, --storage, --to, --code."""

import pytest
from few_kit import crossed

from raysel.cli import main
from raysel.common.errors import UserError
from raysel.common.locations import working_folder
from raysel.common.paths import name_problem, path_problem, plain, storage_problem
from raysel.spec.reader import parse

SHELL_AND_OTHERS = [
    ("", "is empty"),
    ("   ", "is empty"),
    ("runs ", "begins or ends with a space"),
    (" runs", "begins or ends with a space"),
    ("a\0b", "control character #x00"),
    ("a\nb", "control character #x0a"),
    ("a\x1b[31m", "control character #x1b"),
    ("\udcff", "control character #xdcff"),
    ("~", "only a shell reads ~; give the whole path (/home/you/runs)"),
    ("~/x/y", "only a shell reads ~; give the whole path (/home/you/x/y)"),
    ("~bob/x", "only a shell reads ~; give the whole path (/home/you/x)"),
    ("$HOME/x", "only a shell reads $HOME; give the whole path (/home/you/x)"),
    ("${HOME}/x", "only a shell reads ${HOME}"),
    ("/data/$USER/x", "only a shell reads $USER"),
    ("$(pwd)/x", "only a shell reads $("),
    ("%USERPROFILE%/x", "only a shell reads %USERPROFILE%"),
    ("file:///x%20y", "is a URL; give the path alone (/x y)"),
    ("file:/x", "is a URL; give the path alone (/x)"),
    ("FILE:///x", "is a URL; give the path alone (/x)"),
    ("C:\\runs", "is a path of Windows"),
    ("c:/runs", "is a path of Windows"),
    ("D:", "is a path of Windows"),
    ("\\\\server\\share", "is a path of Windows"),
    ("runs\\digits", "is a path of Windows"),
    ("x" * 256, "a name in it has 256 bytes; 255 at most"),
    ("é" * 128, "a name in it has 256 bytes"),
    ("a/" * 2001 + "b", "has 4,003 bytes; 4,000 at most"),
]


@pytest.mark.parametrize(("text", "why"), SHELL_AND_OTHERS)
def test_what_is_no_path_is_refused_with_the_reason(text, why):
    assert why in (path_problem(text) or "")
    assert why in (storage_problem(text) or "")


@pytest.mark.parametrize(
    "text",
    [
        *("runs", "./runs", "../runs", "/a/b/", ".", "/", "a b", "jürgen", "a%20b", "50%", "a$"),
        *("x~", "/a\\b/c", "写真", "a:b", "🎉", "x" * 255, "-a", "a'b", 'a"b', "[a]", "*", "#1"),
    ],
)
def test_other_characters_are_taken(text):
    assert path_problem(text) is None
    assert storage_problem(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("s3:b/x", "give s3://b/x"),
        ("s3:/b/x", "give s3://b/x"),
        ("S3://b/x", "give s3://b/x"),
        ("gcs://b/x", "give gs://b/x"),
        ("s3a://b/x", "give s3://b/x"),
        ("hdfs://host/x", "hdfs: is not a storage address; give a folder, s3://"),
        ("https://b.s3.amazonaws.com/x", "https: is not a storage address"),
        ("s3://b/$HOME/x", "only a shell reads $HOME"),
        ("s3://b/" + "x" * 256, "a name in it has 256 bytes"),
    ],
)
def test_storage_may_be_a_bucket_and_no_other_url(text, why):
    assert why in (storage_problem(text) or "")


def test_a_bucket_is_storage_and_no_other_path():
    assert storage_problem("s3://bucket/folder?region=eu-west-1") is None
    assert storage_problem("gs://bucket") is None
    assert path_problem("s3://bucket/folder") == "is a URL (s3:) and no path of a file or folder"


@pytest.mark.parametrize("text", ["..", ".", "/", "a/b/c", "../x", "", "a\nb", "x" * 256])
def test_a_sweeps_name_is_no_path(text):
    assert name_problem(text)


FILE = """
name: x
task: {data: digits}
model: {name: test_resnet}
strategies: {full: }
"""

KEYS = [
    *("storage", "task.root", "task.cache", "task.split.indices", "model.weights"),
    *("task.data.folder", "task.data.csv", "code_files.0", "code_files.0.path"),
]


def parsed(key, value):
    """The problems of a file in which a key has a value, given with --set."""
    whole = {
        "code_files.0": f"code_files=[{value}]",
        "code_files.0.path": f"code_files=[{{path: {value}}}]",
    }.get(key, f"{key}={value}")
    with pytest.raises(UserError) as raised:
        parse(FILE.replace("{data: digits}", "{data: {}}") if ".data." in key else FILE, [whole])
    return raised.value.problems


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ['""', '"~/x"', "$HOME/x", "file:///x", "'C:\\runs'", '"x "'])
def test_every_key_that_is_a_path_follows_the_rule(key, value):
    (problem,) = parsed(key, value)
    assert problem.path == key
    assert "is not accepted: " in problem.message


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("//tmp/x", "/tmp/x"),
        ("///tmp//x/./runs/", "/tmp/x/runs"),
        ("runs/", "runs"),
        ("./runs", "runs"),
        (".", "."),
        ("//", "/"),
        ("a/../b", "a/../b"),  # `a` may be a link
    ],
)
def test_a_path_has_one_spelling(text, same):
    assert plain(text) == same
    assert str(working_folder(text)) == str(working_folder(same))
    assert not str(working_folder(text)).startswith("//")


@pytest.mark.parametrize("key", KEYS)
def test_every_key_that_is_a_path_is_spelt_so(key):
    whole = {
        "code_files.0": "code_files=[//x/./y]",
        "code_files.0.path": "code_files=[{path: //x/./y}]",
    }
    text = FILE.replace("{data: digits}", "{data: {}}") if ".data." in key else FILE
    spec = parse(text, [whole.get(key, f"{key}=//x/./y")])
    dumped = spec.to_yaml()
    assert "/x/y" in dumped
    assert "//x" not in dumped


def test_a_bucket_keeps_its_address():
    assert parse(FILE, ["storage=s3://bucket/x"]).storage == "s3://bucket/x"


def test_storage_of_the_command_line_is_spelt_so(tmp_path, capsys):
    assert main.main(["list", "--storage", f"/{tmp_path}/."]) == 0
    assert capsys.readouterr().out == f"there is no sweep in {tmp_path}/\n"


def test_the_root_of_a_table_follows_the_rule():
    with pytest.raises(UserError) as raised:
        parse(FILE.replace("digits", "{csv: t.csv, root: ~/x}"))
    assert raised.value.problems[0].path == "task.data.root"


@pytest.mark.parametrize(
    ("arguments", "value"),
    crossed(
        [
            ["list", "--storage"],
            ["show", "a", "--storage"],
            ["resume", "a", "--storage"],
            ["rm", "a", "--storage"],
            ["gc", "--storage"],
            ["export", "a", "--to"],
            ["report", "a", "b", "--to"],
            ["fetch", "a", "--to"],
            ["strategies", "--code"],
            ["submit", "x.yaml", "--include"],
        ],
        ["", " ", "~/x", "$HOME/x", "file:///x", "C:\\x", "a\nb"],
    ),
)
def test_every_option_that_is_a_path_follows_the_rule(
    tmp_path, monkeypatch, capsys, arguments, value
):
    monkeypatch.chdir(tmp_path)
    assert main.main([*arguments, value]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error  {arguments[-1]}: ") and err.count("\n") == 1
    assert "is not accepted: " in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("verb", "name"),
    crossed(
        [["show"], ["rm", "--yes"], ["resume"], ["reconcile"], ["report"]],
        [".", "..", "a/../b", "runs/digits"],
    ),
)
def test_no_verb_takes_a_path_for_a_sweeps_name(tmp_path, monkeypatch, capsys, verb, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    assert main.main([verb[0], name, *verb[1:]]) == 2
    assert capsys.readouterr().err.startswith(f'error  SWEEP: "{name}" is not accepted')
    assert (tmp_path / "runs" / "digits").is_dir()

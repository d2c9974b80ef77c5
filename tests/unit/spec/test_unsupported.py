"""What users of other tools write is answered by purpose, not by the nearest spelling."""

import pytest

from raysel.common.errors import UserError
from raysel.models.layers import partition_of
from raysel.search.validate import check
from raysel.spec.reader import parse
from raysel.spec.sweep import Spec
from raysel.spec.unsupported import _KEYS, _NEAREST, ONLY

FILE = """
name: x
task: {data: digits}
model: {name: test_resnet}
strategies: {full: }
"""


def reported(override: str) -> str:
    with pytest.raises(UserError) as raised:
        parse(FILE, [override])
    (problem,) = raised.value.problems
    assert problem.path == override.partition("=")[0]
    return problem.message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.mixup_alpha=0.2", "it is called mixup here"),
        ("task.cutmix=1.0", "it belongs at training.cutmix"),
        ("training.dropout=0.1", "raysel has no setting for dropout; nearest in purpose: model.h"),
        ("training.drop_path_rate=0.1", "it is called drop_path here"),
        ("training.smoothing=0.1", "it is called label_smoothing here"),
        ("training.early_stopping=3", "it is called patience here"),
        ("task.patience=3", "it belongs at training.patience"),
        ("training.ema=0.99", "it is called weight_averaging here"),
        ("training.weighted_sampler=true", "it is called sampling here"),
        ("training.lr=0.1", "it is called learning_rate here"),
        ("training.scheduler=cosine", "it is called schedule here"),
        ("training.num_epochs=3", "it is called epochs here"),
        ("training.max_grad_norm=1", "it is called clip_norm here"),
        ("training.accum_steps=2", "it is called gradient_accumulation_steps here"),
        ("training.fp16=true", "it is called precision here"),
        ("training.seed=1", "it belongs at search.seed"),
        ("training.num_workers=1", "it is called resources.cpus here"),
        ("training.class_weight=balanced", "it is called class_weights here"),
        ("training.focal=2", "raysel has no focal; nearest in purpose: training.class_weights"),
        ("training.loss=focal", "no other loss than cross-entropy"),
        ("training.lora=8", "it is called model.adapter here"),
        ("model.lora=8", "it is called adapter here"),
        ("training.adapter=lora", "it belongs at model.adapter"),
        ("task.randaugment=true", "it is called auto_augment here"),
        ("training.trivial_augment=true", "it is called task.auto_augment here"),
        ("task.augmix=true", "no augmix; nearest in purpose: task.auto_augment: rand_augment or t"),
        ("task.img_size=96", "it is called image_size here"),
        ("task.num_classes=3", "the classes are read from task.data"),
        ("task.multilabel=true", ONLY),
        ("task.segmentation=true", ONLY),
        ("task.boxes=x.json", ONLY),
        ("model.freeze=true", "it is called strategies here"),
        ("epochs=5", "unknown key here; it belongs at training.epochs"),
        ("wandb=true", "it is called tracking.uri here"),
        ("output_dir=out", "it is called storage here"),
        ("early_stopping=3", "it is called training.patience here"),
        ("training.epohcs=1", 'did you mean "epochs"?'),
        # values
        ("training.schedule=none", '"none" is unknown; there is "constant", "cosine"'),
        ("training.schedule=cosin", 'did you mean "cosine"?'),
        ("training.optimizer=lion", '"lion" is unknown; there is "sgd", "adam", "adamw"'),
        ("training.precision=16", '16 is unknown; there is "float32", "tf32", "bfloat16"'),
        ("pruner.kind=false", 'false is unknown; there is "asha", "hyperband", "median", "none"'),
        ("objective.metric=val/mae", "is unknown"),
        ("objective.metric=mAP50", ONLY),
    ],
)
def test_a_word_of_other_tools_is_answered_by_purpose(override, words):
    assert words in reported(override)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("strategies.full.learning_rate=0.1", "below training: strategies.full.training.learning_"),
        ("strategies.full.lr=0.1", "it is called training.learning_rate here"),
        ("strategies.full.mixup=0.1", "below training: strategies.full.training.mixup"),
        ("model.weights=imagenet", "there is source, pretrained"),
        ("strategies.full.ema_deca=0.1", "full has no such parameter"),
    ],
)
def test_so_are_parameters_of_a_strategy(override, words):
    (problem,) = check(parse(FILE, [override]))
    assert words in problem.message


@pytest.mark.parametrize("name", ["yolov8n", "deeplabv3_resnet50", "Faster-RCNN", "unet"])
def test_a_model_for_another_task_is_named_as_one(name):
    with pytest.raises(UserError, match="single-label classification only"):
        partition_of(name, "coarse", 10)


def test_the_tables_name_keys_and_values_that_there_are():
    for path in _KEYS:
        model = Spec
        *above, last = path.split(".")
        for part in above:
            model = model.model_fields[part].annotation
        assert last in model.model_fields, path


def test_no_word_has_two_answers():
    words = [word for group in (*_KEYS.values(), *_NEAREST) for word in group.split()]
    assert sorted({word for word in words if words.count(word) > 1}) == []
    assert all(word.isalnum() and word == word.lower() for word in words)


def test_a_soup_is_refused_with_the_reason():
    why = "the confirm phase's runs are of different splits"
    assert why in reported("strategies.full.after.kind=soup")
    assert "no mean of several runs' weights" in reported("confirm.model_soup=true")

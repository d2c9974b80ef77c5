"""What users of other tools write: the key that raysel has for it, or that raysel has no such
thing and what comes nearest in purpose.

The nearest spelling would mislead: `mixup` is not `momentum`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from raysel.common.text import quoted

ONLY = "raysel does single-label classification only: one class for each picture"

_OTHER_TASKS = (
    "multilabel multilabels multilabelclassification regression segmentation "
    "semanticsegmentation instancesegmentation panoptic detection objectdetection boxes bbox "
    "bboxes boundingboxes masks mask keypoints pose depth captioning ocr tracking3d anchors "
    "iou map50 mae mse rmse r2 miou dice jaccard hammingloss bce bcewithlogits retrieval "
    "metriclearning contrastive selfsupervised ssl coco voc "
)

_OTHER_MODELS = (
    *("yolo", "rtdetr", "detr", "fasterrcnn", "maskrcnn", "rcnn", "retinanet", "ssd300", "fcos"),
    *("unet", "deeplab", "segformer", "mask2former", "maskformer", "fcnresnet", "lraspp", "pspnet"),
    *("upernet", "sam2", "medsam", "segmentanything", "keypointrcnn", "efficientdet"),
)

_KEYS: dict[str, str] = {
    "training.learning_rate": "lr baselr maxlr initiallr lr0",
    "training.epochs": "epoch numepochs maxepochs nepochs trainepochs numtrainepochs",
    "training.batch_size": "batch bs trainbatchsize perdevicetrainbatchsize",
    "training.optimizer": "optim opt optimiser",
    "training.weight_decay": "wd decay l2 regularization",
    "training.schedule": "scheduler lrscheduler lrschedule lrschedulertype",
    "training.warmup_epochs": "warmup warmupsteps warmupratio",
    "training.clip_norm": "gradclip clipgrad clipgradnorm maxgradnorm gradientclipval gradientclip",
    "training.gradient_accumulation_steps": "gradaccum gradientaccumulation accumsteps accumiter",
    "training.precision": "amp fp16 bf16 mixedprecision half dtype autocast",
    "training.batch_norm": "bn batchnorm freezebn norm syncbn",
    "training.label_smoothing": "labelsmoothing smoothing",
    "training.mixup": "mixupalpha mix",
    "training.cutmix": "cutmixalpha",
    "training.class_weights": "classweights classweight balanced weightedloss",
    "training.sampling": "weightedsampler balancedsampler balancedsampling oversampling",
    "training.drop_path": "droppathrate stochasticdepth",
    "training.weight_averaging": "ema modelema emadecay modelemadecay swa polyak",
    "training.pull": "l2sp deltaweightdecay",
    "training.patience": "earlystopping earlystop earlystoppingpatience",
    "training.compile": "torchcompile compiled inductor compilemodel",
    "training.shots": "fewshot kshot nshot samplesperclass",
    "task.augmentation": "augment augmentations aug transforms transform randomresizedcrop hflip",
    "task.auto_augment": "randaugment trivialaugment trivialaugmentwide aa",
    "task.image_size": "imgsize imagesize inputsize resolution size resize imgsz crop",
    "task.preprocess": "normalize normalization mean std",
    "task.data": "dataset datasets datadir datapath imagefolder",
    "task.split": "splits valsplit trainsplit testsplit",
    "model.name": "arch architecture backbone modelname models timm",
    "model.weights": "checkpoint pretrained ckpt initcheckpoint",
    "model.partition": "layers layergroups blocks groups paramgroups",
    "model.adapter": "lora adapters peft loraconfig",
    "search.num_trials": "trials ntrials numsamples numtrials maxtrials",
    "search.prior": "warmstart warmstarting transfer metalearning evaluatedrewards "
    "pointstoevaluate initialpoints priors",
    "search.seed": "seed randomseed randomstate",
    "confirm.seeds": "seeds repeats nseeds replicates",
    "pruner.kind": "pruning asha hyperband",
    "objective.metric": "metric monitor metricforbestmodel",
    "resources.gpus": "device devices gpu numgpus cuda accelerator",
    "resources.cpus": "cpu numworkers workers numcpus threads",
    "resources.max_concurrent_trials": "maxconcurrent concurrency njobs parallel",
    "budget.hours": "timeout timebudget maxhours timelimit walltime",
    "trace.every_n_steps": "logevery logeverynsteps loginterval loggingsteps",
    "tracking.uri": "mlflow trackinguri wandb tensorboard logger comet neptune",
    "tracking.experiment": "project experiment experimentname runname",
    "storage": "outputdir output outdir savedir logdir workdir resultsdir",
    "database_url": "database databaseurl studystorage optunastorage",
    "code_files": "plugins imports modules codefiles",
    "strategies": "freeze freezelayers frozen unfreeze freezebackbone layerdecay llrd bitfit",
}
"""The key that does it -> what others call it, without dashes and underscores."""

_SOUP = "soup soups modelsoup modelsoups uniformsoup greedysoup"
_AUGMENT = "task.auto_augment: rand_augment or trivial_augment"
_NEAREST: dict[str, tuple[str, str]] = {
    "augmix colorjitter randomerasing cutout rotation": ("", _AUGMENT),
    "dropout droprate drop": (
        *("setting for dropout", "model.head: mlp, whose head has dropout, or training.drop_path"),
    ),
    "focalloss focal": ("", "training.class_weights: balanced"),
    "loss criterion lossfunction lossfn": ("other loss than cross-entropy", "objective.metric"),
    "ddp distributed fsdp deepspeed dataparallel": (
        "training of one trial on several GPUs",
        "resources.max_concurrent_trials: trials run beside each other",
    ),
    "kfold folds cv crossvalidation": ("k folds", "confirm.seeds"),
    "resume resumefrom": ("such key", "the command raysel resume"),
    "betas beta1 beta2 eps": ("setting for this", "training.momentum; adam has torch's own values"),
    "distillation teacher": ("", "the strategy lp_ft"),
    "maxsteps numsteps totalsteps iters maxiters": ("limit of steps", "training.epochs"),
    _SOUP: ("mean of several runs' weights", "training.weight_averaging, along one run"),
    "numclasses nclasses classes": ("such key", "the classes are read from task.data"),
}
"""What others call it -> (what raysel has not, in words, or "" for the given word; what comes
nearest in purpose)."""


_VALUES: dict[str, str] = {
    "val/error": "accuracy valaccuracy acc valacc top1",
    "val/source_error": "forgetting sourceerror valforgetting",
    "cost/seconds": "time traintime trainingtime runtime duration walltime",
    "cost/updated_params": "parameters params trainableparameters updatedparameters",
    "nsga2": "nsga nsgaii nsgaiisampler genetic",
}
"""The value that is meant -> what others call it, likewise."""


_NO_SOUP = (
    "the confirm phase's runs are of different splits, and each trains on what another one is"
    " validated with; nearest in purpose: training.weight_averaging, along one run"
)
"""Why no mean of several runs is made of them (docs/algorithms.md, D89)."""


def unknown_key(key: str, known: Iterable[str], near: str) -> str:
    """What to say of a key that there is not.

    Args:
        key: as it was given, without what it is below.
        known: the keys that there are in its place.
        near: what `nearest` says of them.
    """
    plain = _plain(key)
    if plain in _OTHER_TASKS.split():
        return f"unknown key; {ONLY}"
    known = list(known)
    for path, words in _KEYS.items():
        last = path.rpartition(".")[2]
        if plain == _plain(last):
            return f"unknown key here; it belongs at {path}"
        if plain in words.split():
            return f"unknown key; it is called {last if last in known else path} here"
    for words, (what, instead) in _NEAREST.items():
        if plain in words.split():
            return f"unknown key; raysel has no {what or key}; nearest in purpose: {instead}"
    return f"unknown key; {near}"


def unknown_value(value: str, options: list[str]) -> str:
    """What to give in place of a value that is none of a key's."""
    if _plain(value) in _OTHER_TASKS.split():
        return ONLY
    if _plain(value) in _SOUP.split():
        return _NO_SOUP
    for meant, words in _VALUES.items():
        if meant in options and _plain(value) in words.split():
            return f"did you mean {quoted(meant)}?"
    # of few words even a far one is near by its letters: "none" is not "cosine"
    close = difflib.get_close_matches(value, options, n=1, cutoff=0.65)
    if close:
        return f"did you mean {quoted(close[0])}?"
    return f"there is {', '.join(map(quoted, options))}"


def other_model(name: str) -> str | None:
    """What to say of a model for another task than classification; None of any other name."""
    plain = _plain(name)
    return ONLY if plain.startswith(_OTHER_MODELS) else None


def _plain(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum())

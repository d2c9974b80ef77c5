"""What users of other tools write: the key that raysel has for it, or that raysel has no such
thing and what comes nearest in purpose.

The nearest spelling would mislead: `mixup` is not `momentum`.
"""

from __future__ import annotations

from collections.abc import Iterable

from raysel.common.errors import nearest
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
    "training.learning_rate": "lr baselr maxlr initiallr lr0 stepsize learningrates",
    "training.epochs": "epoch numepochs maxepochs nepochs trainepochs numtrainepochs",
    "training.batch_size": "batch bs trainbatchsize perdevicetrainbatchsize minibatch",
    "training.optimizer": "optim opt optimiser solver",
    "training.weight_decay": "wd decay l2 l2regularization regularization",
    "training.schedule": "scheduler lrscheduler lrschedule lrschedulertype sched annealing cosine",
    "training.warmup_epochs": "warmup warmupsteps warmupratio numwarmupsteps warmupepoch",
    "training.clip_norm": (
        "gradclip gradclipping clipgrad clipgradnorm maxgradnorm gradientclipval gradientclip"
        " clipnormvalue clipping"
    ),
    "training.gradient_accumulation_steps": "gradaccum gradientaccumulation accumsteps"
    " accumulategradbatches accumiter",
    "training.precision": "amp fp16 bf16 mixedprecision half dtype autocast tf32",
    "training.batch_norm": "bn batchnorm freezebn norm syncbn",
    "training.deterministic": "cudnn benchmark reproducible",
    "training.shots": "fewshot kshot nshot samplesperclass",
    "task.augmentation": "augment augmentations aug transforms transform dataaugmentation"
    " randomcrop randomresizedcrop flip hflip horizontalflip",
    "task.image_size": "imgsize imagesize inputsize resolution size resize imgsz crop",
    "task.preprocess": "normalize normalization mean std",
    "task.data": "dataset datadir datapath datasets datasetname imagefolder",
    "task.split": "splits valsplit trainsplit testsplit valratio",
    "task.split.shots": "kshots",
    "model.name": "arch architecture backbone modelname encoder network timm",
    "model.weights": "checkpoint pretrained ckpt initcheckpoint loadfrom weightsfile",
    "model.head": "classifier",
    "model.partition": "layers layergroups blocks groups paramgroups",
    "search.num_trials": "trials ntrials numsamples numtrials maxtrials iterations",
    "search.seed": "seed randomseed randomstate",
    "search.sampler": "searchalg searchalgorithm algorithm",
    "confirm.seeds": "seeds repeats nseeds replicates",
    "pruner.kind": "earlystopping earlystop earlystoppingpatience patience asha hyperband"
    " successivehalving stopping",
    "objective.metric": "metric monitor metricforbestmodel",
    "resources.gpus": "device devices gpu numgpus cuda accelerator ngpus",
    "resources.cpus": "cpu numworkers workers numcpus threads nworkers dataloaderworkers",
    "resources.max_concurrent_trials": "maxconcurrent concurrency njobs parallel",
    "budget.hours": "timeout timebudget maxhours timelimit maxtime walltime",
    "trace.every_n_steps": "logevery logeverynsteps loginterval loggingsteps printfreq",
    "tracking.uri": "mlflow trackinguri wandb tensorboard logger comet neptune mlflowuri",
    "tracking.experiment": "project experiment experimentname runname",
    "storage": "outputdir output outdir savedir logdir workdir resultsdir localdir savepath",
    "database_url": "database databaseurl storageurl studystorage optunastorage",
    "code_files": "plugins imports modules codefiles userdir",
    "strategies": "freeze freezelayers frozen unfreeze freezebackbone frozenlayers trainablelayers"
    " finetune strategy layerdecay llrd layerwiselrdecay discriminativelr",
}
"""The key that does it -> what others call it, without dashes and underscores."""

_NEAREST: dict[str, tuple[str, str]] = {
    "mixup": ("", "task.augmentation: random_resized_crop, and training.weight_decay"),
    "cutmix": ("", "task.augmentation: random_resized_crop, and training.weight_decay"),
    "randaugment autoaugment trivialaugment augmix colorjitter randomerasing reprob erasing cutout"
    " gridmask mosaic rotation randomrotation aa jitter blur verticalflip vflip": (
        "",
        "task.augmentation: flip, random_crop or random_resized_crop",
    ),
    "dropout droprate drop headdropout dropoutrate": (
        "setting for dropout",
        "model.head: mlp, whose head has dropout, or training.weight_decay",
    ),
    "droppath droppathrate stochasticdepth dropblock": ("", "training.weight_decay"),
    "labelsmoothing smoothing": ("", "training.weight_decay"),
    "ema modelema emadecay swa weightaveraging swalr lookahead": (
        "average of weights over time",
        "confirm.epoch: best",
    ),
    "lora adapter adapters peft bitfit prompttuning vpt qlora prefixtuning": (
        "",
        "the strategies surgical and blockwise, which move whole layers (raysel strategies)",
    ),
    "distillation teacher kd knowledgedistillation": ("", "the strategy lp_ft"),
    "l2sp ewc spreg fisher": ("", "the strategy suffix, which leaves the rest as it was"),
    "focalloss focal classweights classweight balanced weightedsampler oversampling balancedsampler"
    " sampleweights": ("weights of classes", "objective.metric: val/balanced_error"),
    "loss criterion lossfunction lossfn": ("other loss than cross-entropy", "objective.metric"),
    "compile torchcompile jit channelslast": ("", "training.precision: bfloat16"),
    "ddp distributed fsdp deepspeed dataparallel strategyddp zero nnodes worldsize": (
        "training of one trial on several GPUs",
        "resources.max_concurrent_trials: trials run beside each other",
    ),
    "kfold folds cv crossvalidation nfolds": (
        "k folds",
        "confirm.seeds, or search.sampler: cross_validation, which takes every layer in turn",
    ),
    "tta testtimeaugmentation": ("", "task.preprocess"),
    "ensemble ensembling": ("", "confirm.seeds"),
    "savebest savetopk saveevery checkpointevery savefreq savelastk": (
        "setting for checkpoints",
        "confirm.epoch: best or last; every epoch is kept until a trial ends",
    ),
    "resume resumefrom autoresume": ("such key", "the command raysel resume"),
    "maxsteps numsteps totalsteps iters maxiters": ("limit of steps", "training.epochs"),
    "numclasses nclasses nbclasses classes": ("such key", "the classes are read from task.data"),
    "lrfinder autolr lrfind": ("", "training.learning_rate: {float: [1e-4, 1e-1], log: true}"),
    "beta1 beta2 betas eps nesterov amsgrad momentumdecay dampening": (
        "setting for this",
        "training.momentum; sgd is Nesterov's, adam and adamw have torch's own values",
    ),
    "valevery evalinterval evalsteps validationinterval checkvaleverynepoch evalevery": (
        "such key",
        "every epoch is validated; training.epochs",
    ),
    "gradcheckpointing gradientcheckpointing": ("", "a smaller training.batch_size"),
    "gamma milestones stepsizelr decayepochs decayrate lrdecay minlr etamin power tmax": (
        "setting for this",
        "training.schedule: cosine, which ends at 0",
    ),
}
"""What others call it -> (what raysel has not, in words, or "" for the given word; what comes
nearest in purpose)."""

_VALUES: dict[str, dict[str, str]] = {
    "schedule": {
        "step multistep exponential exp plateau reducelronplateau polynomial poly linear onecycle"
        " cosinerestarts cosineannealing warmrestarts cosinewithrestarts cyclic triangular wsd"
        " inversesqrt cosinewarmup": "cosine",
        "none off fixed false no null": "constant",
    },
    "optimizer": {
        "nesterov sgdm momentum lars rmsprop adagrad lbfgs asgd": "sgd",
        "lamb lion nadam radam adafactor adabelief sophia muon sam adamax adan ranger novograd"
        " shampoo schedulefree": "adamw",
    },
    "precision": {
        "fp16 float16 16 half amp mixed bf16 16mixed bf16mixed fp8 int8 true yes on": "bfloat16",
        "fp32 32 full tf32 fp64 64 float64 double single off false no": "float32",
    },
    "sampler": {
        "bayesian bo gp bayes optuna hyperopt bohb cmaes cma nsga nsgaii evolution smac botorch"
        " ax auto": "tpe",
        "sobol halton lhs latinhypercube": "qmc",
        "gridsearch bruteforce exhaustive": "grid",
        "randomsearch uniform": "random",
    },
    "kind": {
        "sha successivehalving earlystopping earlystop patience pbt true on yes": "asha",
        "bohb": "hyperband",
        "percentile threshold medianstopping": "median",
        "off no false null nop": "none",
    },
    "metric": {
        "acc accuracy top1 valaccuracy valacc top1acc error err testerror testaccuracy val"
        " valtop1": "val/error",
        "loss crossentropy ce nll logloss": "val/loss",
        "f1 macrof1 balancedaccuracy bacc recall precision auc auroc roc rocauc ap averageprecision"
        " kappa mcc sensitivity specificity perclass meanperclass": "val/balanced_error",
        "top5 top5acc top5accuracy": "val/top5_error",
    },
    "augmentation": {
        "off no false null": "none",
        "hflip horizontalflip randomflip": "flip",
        "crop": "random_crop",
        "randaugment autoaugment trivialaugment augmix mixup cutmix colorjitter randomerasing light"
        " strong default standard true on yes heavy randomresizedcrop rrc auto": (
            "random_resized_crop"
        ),
    },
    "weights": {
        "imagenet default true yes timm imagenet1k imagenet21k in1k": "pretrained",
        "none scratch random false no off null": "source",
    },
    "batch_norm": {"frozen freeze fixed": "frozen_eval", "on true yes": "train", "off no": "eval"},
    "head": {"fc dense one": "linear", "nonlinear twolayer hidden": "mlp"},
}
"""Of a key with a fixed set of values: what others write -> what is nearest in purpose."""


def unknown_key(key: str, known: Iterable[str], near: str) -> str:
    """What to say of a key that there is not.

    Args:
        key: as it was given, without what it stands below.
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
            return f"unknown key here; it stands at {path}"
        if plain in words.split():
            return f"unknown key; it is called {last if last in known else path} here"
    for words, (what, instead) in _NEAREST.items():
        if plain in words.split():
            return f"unknown key; raysel has no {what or key}; nearest in purpose: {instead}"
    return f"unknown key; {near}"


def unknown_value(field: str, value: str, options: list[str]) -> str:
    """What to give in place of a value that is none of a key's; "did you mean" where it is near."""
    plain = _plain(value)
    if plain in _OTHER_TASKS.split():
        return ONLY
    for words, instead in _VALUES.get(field, {}).items():
        if plain in words.split() and instead in options:
            there = ", ".join(options)
            return f"raysel has {there}; nearest in purpose: {quoted(instead)}"
    return nearest(value, options)


def other_model(name: str) -> str | None:
    """What to say of a model for another task than classification; None of any other name."""
    plain = _plain(name)
    return ONLY if plain.startswith(_OTHER_MODELS) else None


def _plain(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum())

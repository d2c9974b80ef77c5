"""A training step on the CPU with a pixel's channels last, against the usual layout.

    python tests/benchmarks/memory_format.py [MODEL ...]

The steps of both take turns in one process with one thread, in float32 and in bfloat16; the ratio
is the median over the pairs, of processor time. Above 1, channels last is faster:
`raysel/training/modes.py` chooses by what this shows.
"""

import itertools
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from raysel.common.torchvision_compat import ensure_importable

ensure_importable()

import timm  # noqa: E402

import raysel.models.wide_resnet  # noqa: E402, F401  (registers its models)

MODELS = (
    *("tf_efficientnet_lite0", "efficientnet_b0", "mobilenetv2_100", "mobilenetv3_small_100"),
    *("mnasnet_100", "fbnetc_100", "regnety_004", "convnext_atto", "resnet10t", "resnet18"),
    *("resnet50", "cifar_wrn_10_2"),
)
PAIRS, BATCH, PIXELS = 9, 10, 64


def a_step(name: str, memory_format: torch.memory_format, reduced: bool) -> Callable[[], None]:
    model = timm.create_model(name, num_classes=12).train().to(memory_format=memory_format)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, foreach=True)
    images = torch.randn(BATCH, 3, PIXELS, PIXELS).to(memory_format=memory_format)
    labels = torch.randint(0, 12, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            logits = model(images)
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    begin = time.process_time()
    step()
    return time.process_time() - begin


def main() -> None:
    torch.set_num_threads(1)
    print("| model | precision | usual, ms | channels last, ms | ratio |\n|---|---|---|---|---|")
    for name, precision in itertools.product(sys.argv[1:] or MODELS, ("float32", "bfloat16")):
        reduced = precision == "bfloat16"
        formats = torch.contiguous_format, torch.channels_last
        steps = [a_step(name, memory_format, reduced) for memory_format in formats]
        for step in steps * 2:
            step()
        pairs = [[seconds(step) for step in steps] for _ in range(PAIRS)]
        usual, last = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
        ratio = statistics.median(before / after for before, after in pairs)
        print(f"| {name} | {precision} | {usual:.0f} | {last:.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()

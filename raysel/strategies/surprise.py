"""Layerwise surprise: a layer learns as fast as its activations have drifted.

"Automatic fine-tuning strategies", section 4.3. Before training, source and target samples
run through the model; the activations f_{1:l}(x) of layer l are flattened to K_l dimensions
and each is binned into 8 bins across its range. With the bins' probabilities pi:

    s_l  = sum_k sum_i pi_i^{k,tgt} log(pi_i^{k,tgt} / pi_i^{k,src})     (Eq. 1, in nats)
    s*_l = max(0, s_l - s_{l-1}),  s_0 = 0

The paper prints min in s*, which would make every learning rate negative or 0 (D21). Where
the paper is silent: the range is that of both samples together, so that exactly 8 bins hold
everything (D18), and each count gets a pseudocount, or an empty source bin would make the
divergence infinite.

Where the inputs are the same (a label shift) there is nothing to measure but the noise of
finite samples, which is larger for larger layers. The noise is measured as the surprise
between two halves of the source sample; no layer beyond twice that is no shift (D20).

D numbers are sections of docs/algorithms.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from raysel.common.deferred_torch import Tensor, nn, torch
from raysel.spec.sweep import Choice
from raysel.strategies.base import Cost, Domain, Parameter, Probe, TrainingOverride
from raysel.strategies.outputs import HookPoint, hook_points, sample, stream_outputs
from raysel.strategies.rates import NORMALISE, LayerRates
from raysel.strategies.registry import register

_DOMAINS: tuple[Domain, ...] = ("source", "target")
_LARGEST_FLAT = 1_000_000  # dimensions of one layer; beyond it all take channels (D49)
_CHUNK = 2**22  # numbers that are binned at once, in float64
_ROUNDING = 1e-6  # of the values: a range below it is float32 noise of a constant
_BEYOND_NOISE = 2.0  # D20


class NoInputShift(ValueError):
    """Source and target activations do not differ beyond the noise of their samples."""


# --- the equations -----------------------------------------------------------------------------


def layerwise_surprise(
    source_counts: Tensor, target_counts: Tensor, pseudocount: float = 0.01
) -> Tensor:
    """s = sum_k KL(pi^{k,tgt} || pi^{k,src}) in nats (Eq. 1).

    Args:
        source_counts, target_counts: [..., bins], how many activations fell into each bin;
            a dimension without any count adds 0.
        pseudocount: added to every count of both.

    Returns:
        0-dim float64; infinite where a source bin is empty, the target's is not and the
        pseudocount is 0.
    """
    source, target = (_probabilities(c, pseudocount) for c in (source_counts, target_counts))
    terms = target * (target.log() - source.log())
    return torch.where(target > 0, terms, 0.0).sum()


def _probabilities(counts: Tensor, pseudocount: float) -> Tensor:
    smoothed = counts.to(torch.float64) + pseudocount
    return smoothed / smoothed.sum(-1, keepdim=True)


def surprise_difference(s: Tensor) -> Tensor:
    """s*_l = max(0, s_l - s_{l-1}) with s_0 = 0; [L] float64."""
    s = torch.as_tensor(s, dtype=torch.float64)
    return torch.diff(s, prepend=torch.zeros_like(s[:1])).clamp(min=0.0)


def sampling_bias(bins: int, source_size: float, target_size: float) -> float:
    """What finite samples of one distribution add to the surprise of one dimension, in nats:
    (bins - 1) / 2 * (1 / n_src + 1 / n_tgt)."""
    return (bins - 1) / 2 * (1 / source_size + 1 / target_size)


# --- the measurement ---------------------------------------------------------------------------


class LayerHistograms:
    """Per-dimension histograms of one layer's activations, in two passes over the samples:
    the range first, then the counts. K dimensions, B bins.

    Args:
        bins: B.
        channel_dim: of the layer's output; its positions then share their channel's bins
            (K channels). None takes every number for a dimension of its own.
    """

    def __init__(self, bins: int, channel_dim: int | None = None) -> None:
        self.bins, self.channel_dim = bins, channel_dim
        self.low: Tensor | None = None  # [K]
        self.high: Tensor | None = None  # [K]
        self.positions = 1  # numbers of one example in each dimension
        self._counts: dict[str, Tensor] = {}  # [K, B] int32 each

    def _rows(self, output: Tensor) -> Tensor:
        """[n, ...] as [m, K]."""
        if self.channel_dim is None or output.dim() < 3:
            return output.flatten(1) if output.dim() > 1 else output.unsqueeze(1)
        output = output.movedim(self.channel_dim, -1)
        return output.reshape(-1, output.shape[-1])

    def widen(self, output: Tensor) -> None:
        """Take a batch of outputs into the range."""
        rows = self._rows(output)
        self.positions = len(rows) // len(output)
        low, high = rows.amin(0), rows.amax(0)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)

    @property
    def finite(self) -> bool:
        """Whether every activation so far was a finite number."""
        assert self.low is not None and self.high is not None
        return bool((self.low.isfinite() & self.high.isfinite()).all())

    @property
    def varies(self) -> Tensor:
        """[K] bool: dimensions that are no constant."""
        assert self.low is not None and self.high is not None
        low, high = self.low.double(), self.high.double()
        return high - low > _ROUNDING * torch.maximum(low.abs(), high.abs())

    def count(self, part: str, output: Tensor) -> None:
        """Bin a batch of outputs into the histogram of a part. Constants are not counted."""
        assert self.low is not None and self.high is not None
        rows, varies = self._rows(output), self.varies
        if part not in self._counts:
            shape = (len(self.low), self.bins)
            self._counts[part] = torch.zeros(shape, dtype=torch.int32, device=self.low.device)
        low = self.low.double()
        width = torch.where(varies, self.high.double() - low, 1.0)
        one = varies.to(torch.int32).unsqueeze(1)
        for chunk in rows.split(max(1, _CHUNK // max(1, len(low)))):
            index = ((chunk.double() - low) / width * self.bins).long().clamp_(0, self.bins - 1)
            self._counts[part].scatter_add_(1, index.T, one.expand(-1, len(chunk)))

    def counts(self, *parts: str) -> Tensor:
        """The counts of some parts together, [K, B]."""
        return torch.stack([self._counts[part] for part in parts]).sum(0)


class _Surprise(LayerRates):
    """The measurement that `surprise` and `surprise_diff` share."""

    paper = "Automatic fine-tuning strategies, section 4.3, Eq. 1"
    needs = frozenset({"source_inputs"})
    parameters = (
        Parameter(
            "bins",
            "int",
            8,
            "bins of each dimension's histogram",
            low=2,
            search=Choice(categorical=(4, 8, 16, 32)),
        ),
        Parameter(
            "samples",
            "int",
            1000,
            "examples of each domain; all where it has fewer",
            low=2,
            search=Choice(categorical=(200, 1000)),
        ),
        Parameter(
            "pseudocount",
            "float",
            0.01,
            "added to every count, so that an empty bin is not infinitely surprising",
            low=0.0,
            open_ends=True,
        ),
        Parameter(
            "reduce",
            "choice",
            "sum",
            "over a layer's dimensions: the paper's sum, which large layers lead, or the mean",
            options=("sum", "mean"),
            search=Choice(categorical=("sum", "mean")),
        ),
        Parameter("debias", "bool", False, "subtract what finite samples add by themselves"),
        Parameter(
            "unit",
            "choice",
            "flat",
            "a histogram for every number of a layer's output, or one for every channel; channels "
            "of every layer where one layer puts out more than 1e6 numbers, as the trial notes",
            options=("flat", "channel"),
        ),
        Parameter(
            "fallback",
            "choice",
            "refuse",
            "where no input shift is detected: end the trial, or weigh all layers the same",
            options=("refuse", "uniform"),
        ),
        NORMALISE,
    )
    published = TrainingOverride(optimizer="adam", learning_rate=1e-5, weight_decay=1e-4)
    cost = Cost(
        before="once, 4 forward passes over `samples` examples (2 over the source's, 2 over the "
        "target's)",
        memory="before training, 12 `bins` bytes for each number of one example's layer outputs",
    )

    def scores(self, probe: Probe) -> Tensor:
        """s_l of every layer, [L]; NaN for a fresh head and a layer without an output.

        Raises:
            NoInputShift: no layer is surprised beyond the noise, and `fallback` is `refuse`.
            ValueError: a domain has too few examples, or an activation is not finite.
        """
        layers, sizes = self._histograms(probe)
        scores = torch.full((len(self.partition),), torch.nan, dtype=torch.float64)
        shifted = False
        for index, layer in layers.items():
            surprise = self._surprise(layer, ("even", "odd"), ("target",))
            noise = self._noise(layer, sizes)
            shifted = shifted or surprise > _BEYOND_NOISE * noise
            scores[index] = self._reduced(surprise, layer, sizes)
        if layers and not shifted:
            self._warn_unshifted()
            scores = torch.where(scores.isnan(), scores, 0.0)
        return scores

    def _surprise(
        self, layer: LayerHistograms, source: tuple[str, ...], target: tuple[str, ...]
    ) -> float:
        counts = layer.counts(*source), layer.counts(*target)
        return float(layerwise_surprise(*counts, self.values["pseudocount"]))

    def _noise(self, layer: LayerHistograms, sizes: Mapping[str, int]) -> float:
        """The surprise that samples of these sizes show without a shift (D20)."""
        between_halves = self._surprise(layer, ("even",), ("odd",))
        source = sizes["even"] + sizes["odd"]
        had = sampling_bias(self.values["bins"], sizes["even"], sizes["odd"])
        return between_halves * sampling_bias(self.values["bins"], source, sizes["target"]) / had

    def _reduced(self, surprise: float, layer: LayerHistograms, sizes: Mapping[str, int]) -> float:
        """The layer's score: the sum or the mean over its dimensions, without the bias if so
        chosen."""
        varies = layer.varies
        if self.values["debias"]:
            source = (sizes["even"] + sizes["odd"]) * layer.positions
            target = sizes["target"] * layer.positions
            bias = sampling_bias(self.values["bins"], source, target)
            surprise = max(0.0, surprise - bias * int(varies.sum()))
        return surprise / len(varies) if self.values["reduce"] == "mean" else surprise

    def _warn_unshifted(self) -> None:
        message = "no input shift detected: no layer's surprise is beyond twice its sampling noise"
        if self.values["fallback"] == "refuse":
            raise NoInputShift(
                f"{message}; {self.name} cannot weigh layers for a shift of the labels "
                "(or set fallback: uniform)"
            )
        self.note(f"{self.name}: {message}; all layers get weight 1")

    def _histograms(self, probe: Probe) -> tuple[dict[int, LayerHistograms], dict[str, int]]:
        """The filled histograms of the layers by index, and the sizes of the sample's parts."""
        images = {
            domain: [images for images, _ in sample(probe, domain, self.values["samples"])]
            for domain in _DOMAINS
        }
        total = {domain: sum(map(len, images[domain])) for domain in _DOMAINS}
        if total["source"] < 2:
            raise ValueError(f"{self.name} needs at least 2 source examples")
        layers: dict[int, LayerHistograms] = {}

        def widen(index: int, output: Tensor, earlier: int) -> None:
            if index not in layers:
                channel = 1 if output.dim() == 4 and not channels_last else -1
                layers[index] = LayerHistograms(self.values["bins"], channel if pooled else None)
            layers[index].widen(output)

        def count_target(index: int, output: Tensor, earlier: int) -> None:
            layers[index].count("target", output)

        def count_source(index: int, output: Tensor, earlier: int) -> None:
            layers[index].count("even", output[earlier % 2 :: 2])
            layers[index].count("odd", output[1 - earlier % 2 :: 2])

        with probe.model() as model:
            channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"  # timm's name for it
            points = hook_points(model, self.partition, images["source"][0][:1])
            if probe.fresh_head:
                points[self.partition.head_layer] = None
            pooled = self._by_channel(model, points, images["source"][0][:1])
            for domain in _DOMAINS:
                stream_outputs(model, points, images[domain], widen)
            self._check_finite(layers)
            stream_outputs(model, points, images["source"], count_source)
            stream_outputs(model, points, images["target"], count_target)
        even = -(-total["source"] // 2)
        return layers, {"even": even, "odd": total["source"] - even, "target": total["target"]}

    def _by_channel(self, model: nn.Module, points: list[HookPoint | None], image: Tensor) -> bool:
        """Whether positions share their channel's histogram: the same for all layers, or their
        sums would be of unlike things (D49)."""
        if self.values["unit"] == "channel":
            return True
        sizes: dict[int, int] = {}

        def measure(index: int, output: Tensor, earlier: int) -> None:
            sizes[index] = output[0].numel()

        stream_outputs(model, points, [image], measure)
        largest = max(sizes, key=lambda index: sizes[index], default=None)
        if largest is None or sizes[largest] <= _LARGEST_FLAT:
            return False
        self.note(
            f"{self.name}: {self.partition.names[largest]} puts out {sizes[largest]:,} numbers,"
            f" more than {_LARGEST_FLAT:,}: every layer has a histogram a channel (unit: channel)"
        )
        return True

    def _check_finite(self, layers: Mapping[int, LayerHistograms]) -> None:
        for index in sorted(layers):
            if not layers[index].finite:
                name = self.partition.names[index]
                raise ValueError(f"{self.name}: an activation of {name} is not a finite number")


@register
class Surprise(_Surprise):
    """Layers learn in proportion to the drift of their activations."""

    name = "surprise"
    summary = "learning rates in proportion to how far each layer's activations have drifted"


@register
class SurpriseDiff(_Surprise):
    """Layers learn in proportion to the drift that they add to that of the layer before."""

    name = "surprise_diff"
    summary = "learning rates in proportion to the drift that each layer adds"
    paper = f"{_Surprise.paper}, and s* below it (with max for the printed min)"

    def scores(self, probe: Probe) -> Tensor:
        """s*_l of every layer, [L]; NaN where s_l or s_{l-1} is undefined."""
        return surprise_difference(super().scores(probe))

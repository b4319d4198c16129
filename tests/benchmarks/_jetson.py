"""What bench_jetson.py fits: boards, networks, forms, and the rows of the published tables."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import timm
import torchvision.models as tv
from _trace import traced_features
from torch import nn

from hardware_profiles.estimate import EstimateRow, Source
from hardware_profiles.estimate_fit import Form, network_name

DATA = Path(__file__).parents[3] / "shared" / "data" / "latency"
RUNTIMES = ("TensorRT", "TensorRT(torch2trt)")
ASIDE = frozenset({"vit", "mobilevit"})  # transformers: on one board only, see docs/devices.md


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board as the sources call it; `source` is the one whose condition is estimated."""

    name: str
    names: tuple[str, ...]
    source: str
    soc: str
    cpu: str
    cores: int | None = None
    aliases: tuple[str, ...] = ()


BOARDS: Mapping[str, Board] = {
    "jetson-nano": Board(
        name="Jetson Nano", names=("Jetson Nano",), source="netspresso-trainer",
        soc="Tegra X1 (T210)", cpu="Cortex-A57", cores=4, aliases=("nano",)),
    "jetson-tx2": Board(
        name="Jetson TX2", names=("Jetson TX2",), source="netspresso-trainer",
        soc="Tegra X2 (T186)", cpu="Denver 2 and Cortex-A57", cores=6, aliases=("tx2",)),
    "jetson-xavier-nx": Board(
        name="Jetson Xavier NX", names=("Jetson NX", "Jetson Xavier NX"),
        source="netspresso-trainer", soc="Xavier (T194)", cpu="Carmel", cores=6,
        aliases=("xavier-nx",)),
    "jetson-agx-xavier": Board(
        name="Jetson AGX Xavier", names=("Jetson Xavier", "Jetson AGX Xavier"),
        source="netspresso-trainer", soc="Xavier (T194)", cpu="Carmel", cores=8,
        aliases=("agx-xavier",)),
    "jetson-orin-nano": Board(
        name="Jetson Orin Nano", names=("Jetson Orin Nano",), source="netspresso-trainer",
        soc="Orin (T234)", cpu="Cortex-A78AE", cores=6, aliases=("jetson", "orin-nano")),
    "jetson-agx-orin": Board(
        name="Jetson AGX Orin", names=("Jetson AGX Orin",), source="netspresso-trainer",
        soc="Orin (T234)", cpu="Cortex-A78AE", aliases=("agx-orin",)),
    "nvidia-t4": Board(
        name="NVIDIA T4", names=("NVIDIA T4",), source="super-gradients",
        soc="TU104", cpu="not stated", aliases=("t4",)),
}

# Name without case, dashes and underscores → family and how to build it.
TIMM = {
    "efficientformerl1": ("efficientformer", "efficientformer_l1"),
    "mixnets": ("mixnet", "mixnet_s"), "mixnetm": ("mixnet", "mixnet_m"),
    "mixnetl": ("mixnet", "mixnet_l"), "efficientnetb0": ("efficientnet", "efficientnet_b0"),
    "movilevits": ("mobilevit", "mobilevit_s"), "vittiny": ("vit", "vit_tiny_patch16_224"),
    "regnety200": ("regnet", "regnety_002"), "regnety400": ("regnet", "regnety_004"),
    "regnety600": ("regnet", "regnety_006"), "regnety800": ("regnet", "regnety_008"),
}
TORCHVISION = re.compile(
    r"(alexnet|squeezenet|resnet|densenet|vgg|shufflenet|mnasnet|mobilenet_v2|mobilenet_v3)")

HEAVY = ("conv", "pw", "dw", "group", "linear", "matmul")
LIGHT = ("act", "mul", "add", "copy", "norm", "softmax")
DENSE, POINTWISE, SPLIT = ("conv",), ("pw", "linear", "matmul"), ("dw", "group")


def _named(prefix: str, *kinds: str) -> tuple[str, ...]:
    return tuple(f"{prefix}:{kind}" for kind in kinds)


_LAUNCH = {"launch": _named("kernels", *HEAVY, "pool", *LIGHT)}
_MACS = {"macs of k×k": _named("macs", *DENSE), "macs of 1×1": _named("macs", *POINTWISE),
         "macs of grouped": _named("macs", *SPLIT)}
_TERMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "4 terms": {**_LAUNCH, "macs of dense": _named("macs", *DENSE, *POINTWISE),
                "macs of grouped": _named("macs", *SPLIT),
                "elements": _named("elems", *HEAVY, "pool", *LIGHT)},
    "6 terms": {**_LAUNCH, **_MACS, "elements of light": _named("elems", "pool", *LIGHT),
                "elements of heavy": _named("elems", *HEAVY)},
    "7 terms": {**_LAUNCH, **_MACS, "elements of light": _named("elems", "pool", *LIGHT),
                "elements of dense": _named("elems", *DENSE, *POINTWISE),
                "elements of grouped": _named("elems", *SPLIT)},
    "8 terms": {"launch of heavy": _named("kernels", *HEAVY, "pool"),
                "launch of light": _named("kernels", *LIGHT),
                **_MACS, "elements of light": _named("elems", "pool", *LIGHT),
                "elements of dense": _named("elems", *DENSE, *POINTWISE),
                "elements of grouped": _named("elems", *SPLIT)},
}
FORMS = tuple(Form(name=f"{name}, shrinkage {shrinkage}", terms=terms, shrinkage=shrinkage)
              for name, terms in _TERMS.items() for shrinkage in (0.03, 0.1))


def read_rows(board: Board) -> tuple[tuple[EstimateRow, ...], dict[str, Source]]:
    """Returns a board's measurements of classifiers by TensorRT in FP16 without copies, and their
    sources."""
    rows, sources = [], {}
    with (DATA / "jetson_named_models.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            if (line["device"] not in board.names or line["runtime"] not in RUNTIMES
                    or line["precision"] != "FP16" or line["task"] != "Classification"
                    or line["io_included"] != "False" or float(line["batch"]) != 1):
                continue
            key = line["source"].split()[0]
            sources[key] = Source(
                project=line["source"], path=line["path"], commit=line["commit"],
                licence=line["license"], runtime=line["runtime"],
                software=line["board_sw"] or None, io_included=False)
            side = int(re.findall(r"\d+", line["input"])[0])
            family, features = network(line["model"], side, key)
            use = ("aside" if family in ASIDE else "fit" if key == board.source else "shared")
            rows.append(EstimateRow(model=line["model"], family=family, input_px=side, use=use,
                                    latency_ms=float(line["latency_ms"]), source=key,
                                    features=features))
    return tuple(rows), sources


@cache
def network(model: str, side: int, source: str) -> tuple[str, dict[str, float]]:
    """Returns family and features of a named network as a source built it.

    netspresso-trainer measured networks with 3 classes (the column "Classes" of its table), and
    its heads are one linear layer (models/heads/classification of its repository).
    """
    name, classes = network_name(model), 3 if source == "netspresso-trainer" else 1000
    if name in TIMM:
        family, timm_name = TIMM[name]
        timm.layers.set_fused_attn(False)  # its parts are counted
        make = partial(timm.create_model, timm_name, num_classes=classes)
    else:
        full = {network_name(one): one for one in tv.list_models(module=tv)}[name]
        match = TORCHVISION.match(full)
        if match is None:
            raise KeyError(f"no family is known for {model}")
        family, make = match[0], partial(_torchvision, full, classes)
    return family, traced_features(make, (3, side, side))


def _torchvision(name: str, classes: int) -> nn.Module:
    model: nn.Module = tv.get_model(name, num_classes=classes)
    if name.startswith("mobilenet_v3") and classes == 3:
        model.classifier = nn.Linear(model.classifier[0].in_features, classes)
    return model

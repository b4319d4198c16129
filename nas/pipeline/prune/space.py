"""The space of a model's pruned networks."""

from nas.core.errors import InputError
from nas.pipeline.prune.request import PruneRequest
from supernets.timm.cifar_resnet import NAMES
from supernets.timm.config import TimmConfig
from supernets.timm.elastic import MULTIPLE

PARTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of each width: arXiv 1905.09717, section 4.1
_ONE_BLOCK = 1e-3  # a share of a stage of any depth that leaves one block
_DEEP = {f"cifar_resnet{layers}{half}" for layers in (32, 56, 110, 164) for half in ("", "_half")}


def prune_config(request: PruneRequest, *, classes: int, channels: int, side: int) -> TimmConfig:
    """Returns the space that a request asks for: TAS's, within what is to stay.

    Blocks go from the end of a stage. CIFAR ResNets have the paper's choices: any number of
    channels, rounded down, and in stages of more than three blocks every other depth.
    """
    cifar = request.name in NAMES
    parts = (1.0,) if request.keep_width else PARTS
    return TimmConfig(
        model=request.name, classes=classes, channels=channels, side=side, inner=parts,
        width=parts, depth=1.0 if request.keep_depth else _ONE_BLOCK,
        depth_step=2 if request.name in _DEEP else 1,
        multiple=request.multiple or (1 if cifar else MULTIPLE), nearest=not cifar, kernels=False,
        exclude=tuple(sorted(request.exclude)))


def require_choices(request: PruneRequest, size: int) -> None:
    """Checks that a space has more than one network.

    Raises:
        InputError: It has not.
    """
    if size > 1:
        return
    kept = [option for option, given in (
        ("--keep-depth", request.keep_depth), ("--keep-width", request.keep_width),
        ("--exclude", request.exclude), ("--multiple", request.multiple)) if given]
    raise InputError(f"nothing of {request.name} is left to prune"
                     + (f" with {', '.join(kept)}; keep less of it" if kept else
                        ": its layers are too narrow and its stages have one block; give a "
                        "smaller --multiple, or a larger model"))

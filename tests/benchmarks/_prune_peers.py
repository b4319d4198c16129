"""Other tools that prune to a part of the multiply-adds: torch-pruning and modelopt."""

import contextlib
import copy
import io
import warnings
from typing import Any

import torch
from _prune_net import Net, macs, plain
from torch import nn

_PARTS = tuple(thousandth / 1000 for thousandth in range(5, 905, 5))  # of the channels


def torch_pruned(net: Net, module: nn.Module, share: float, *, everywhere: bool,
                 round_to: int | None) -> tuple[nn.Module, dict[str, Any]]:
    """Returns what torch-pruning leaves of a copy: the first network that is within the share.

    It has no target of multiply-adds, so it is told to remove more and more of the channels.

    Args:
        net: Shapes.
        module: The network.
        share: Of its multiply-adds.
        everywhere: Whether channels are ranked over the whole network (``global_pruning``).
        round_to: Channels are multiples of it.
    """
    import torch_pruning

    shape = net.task.input_shape
    limit = share * macs(module, shape)

    def pruned(part: float) -> nn.Module:
        found: Any = plain(module)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch_pruning.pruner.MagnitudePruner(
                found, torch.zeros(1, *shape), pruning_ratio=part, global_pruning=everywhere,
                importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
                round_to=round_to, ignored_layers=[found.fc]).step()
        return found.eval()

    # Rounded, a larger part of the channels may leave more of the network: the first is taken.
    for part in _PARTS:
        found = pruned(part)
        if macs(found, shape) <= limit:
            return found, {"part_of_channels": part}
    raise SystemExit(f"torch-pruning leaves more than {share:.0%} whatever part it is told")


def fast_nas(net: Net, module: nn.Module, share: float, *, divisor: int
             ) -> tuple[nn.Module, dict[str, Any]]:
    """Returns what modelopt's FastNAS leaves of a copy, judged on the held-out images.

    Args:
        net: Images.
        module: The network.
        share: Of its multiply-adds, ``flops`` there.
        divisor: Of channels.

    Raises:
        ImportError: It, or torchprofile, which it counts with, is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import modelopt.torch.prune as prune
        import torchprofile  # noqa: F401  # else found missing in the middle of the search
    config = prune.fastnas.FastNASConfig()
    config["nn.Conv2d"]["*"]["channel_divisor"] = divisor
    config["nn.BatchNorm2d"]["*"]["feature_divisor"] = divisor
    scored = 0

    def score(candidate: nn.Module) -> float:
        nonlocal scored
        scored += 1
        # It takes a loss of 1e-5 in score for none: as a share, as its examples have it.
        return net.accuracy(candidate, "search") / 100.0

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), \
            contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        found, _ = prune.prune(
            plain(module), mode=[("fastnas", config)], constraints={"flops": f"{share:.0%}"},
            dummy_input=torch.zeros(1, *net.task.input_shape),
            config={"data_loader": list(net.task.batches("train_calib")), "score_func": score,
                    "collect_func": lambda batch: batch[0], "verbose": False})
    return copy.deepcopy(found).eval(), {"validations": scored}

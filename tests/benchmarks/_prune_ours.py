"""The same network pruned by this project: methods that only count, and a search on its weights."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _prune_net import MODEL, Net
from torch import nn

from hardware_profiles.profile import HardwareProfile
from hardware_profiles.profile_file import profile_bytes, read_profile
from nas.core.arch import Arch
from nas.pipeline.compose import compose, device_profile
from nas.pipeline.config import make_config
from nas.pipeline.events import silent
from nas.pipeline.prune.costs import network_cost
from nas.pipeline.prune.space import PARTS
from nas.search.driver import drive
from nas.search.ledger import open_ledger
from supernets.tas.budget import Budget
from supernets.tas.methods.magnitude import magnitude
from supernets.tas.methods.netadapt import Judge, NetAdapt
from supernets.tas.methods.precrop import precrop
from supernets.tas.methods.uniform import uniform
from supernets.tas.subject import Subject
from supernets.timm.config import TimmConfig
from supernets.timm.make import make_supernet
from supernets.timm.supernet import TimmSupernet

SIMPLE = {"uniform": uniform, "precrop": precrop, "magnitude": magnitude}
LATENCY = 0.5  # of the unpruned network's
MOST = 6
Made = list[tuple[nn.Module, Mapping[str, Any]]]
METRICS = ("error", "latency_ms")


def supernet_of(net: Net, module: nn.Module, multiple: int, *, whole_streams: bool = False
                ) -> TimmSupernet:
    """Returns `nas prune`'s space on the network's weights, the most important channels first.

    Args:
        net: Images.
        module: The network; it is copied.
        multiple: Of channels.
        whole_streams: Whether what residual blocks add to keeps its width.
    """
    channels, side, _ = net.task.input_shape
    config = TimmConfig(model=MODEL, classes=10, channels=channels, side=side, inner=PARTS,
                        width=(1.0,) if whole_streams else PARTS, depth=1e-3,
                        multiple=multiple, nearest=multiple > 1, kernels=False)
    return make_supernet(copy.deepcopy(module), config, net.task)[0]


def simply_pruned(net: Net, module: nn.Module, share: float, *, method: str, multiple: int
                  ) -> tuple[nn.Module, dict[str, Any]]:
    """Returns what a method without a search leaves of the network."""
    supernet = supernet_of(net, module, multiple)
    cost = network_cost(supernet, "macs", None)
    whole = cost.of(supernet.space.extreme(largest=True))
    found = SIMPLE[method](Subject(supernet=supernet, seed=0,
                                   budget=Budget(cost=cost, limit=share * whole)))
    return supernet.extract(found), described(supernet, found)


def searched(net: Net, module: nn.Module, share: float, *, multiple: int, whole_streams: bool,
             validations: int, seed: int) -> Made:
    """Returns of the front that LINAS finds the `MOST` most accurate networks.

    The front is of accuracy on the held-out images and predicted latency.

    No network above the share of the multiply-adds is validated. Batch norms of each are measured
    anew; nothing is trained.
    """
    supernet = supernet_of(net, module, multiple, whole_streams=whole_streams)
    cost = network_cost(supernet, "macs", None)
    limit = int(share * cost.of(supernet.space.extreme(largest=True)))
    config = make_config({"supernet": MODEL, "objectives": METRICS, "max_macs": limit,
                          "budget": validations, "seed": seed})
    parts = compose(config, watch=silent, profile=_profile(net, supernet), supernet=supernet)
    ledger = open_ledger(_fresh(net.work / f"{supernet.space.id.rpartition('-')[2]}-{seed}.ledger"),
                         space=supernet.space, objectives=parts.problem.objectives,
                         identity={"seed": seed})
    outcomes = drive(parts.searcher, parts.executor, parts.evaluate, ledger,
                     budget=validations, batch_size=parts.ask)
    values = np.array([[outcome.metrics[name] for name in METRICS] for outcome in outcomes])
    return [(supernet.extract(outcomes[row].trial.arch),
             {**described(supernet, outcomes[row].trial.arch), "validations": len(outcomes),
              "held_out_accuracy": round(100.0 - values[row, 0], 2),
              "predicted_ms": round(values[row, 1], 4)})
            for row in front_rows(values)[-MOST:]]


def adapted(net: Net, module: nn.Module, share: float, *, multiple: int, whole_streams: bool,
            metric: str) -> Made:
    """Returns what NetAdapt leaves of the network: step by step less multiply-adds, or latency.

    Of multiply-adds the network at the end. Of latency, down to `LATENCY`, all on the way that are
    within the multiply-adds.
    """
    supernet = supernet_of(net, module, multiple, whole_streams=whole_streams)
    counted = network_cost(supernet, "macs", None)
    whole = supernet.space.extreme(largest=True)
    limit, judge = share * counted.of(whole), Judge(supernet)
    if metric == "macs":
        subject = Subject(supernet=supernet, budget=Budget(cost=counted, limit=limit), seed=0)
        path = NetAdapt().path(subject, judge)[-1:]
    else:
        timed = network_cost(supernet, metric, _profile(net, supernet))
        budget = Budget(cost=timed, limit=LATENCY * timed.of(whole))
        path = NetAdapt().path(Subject(supernet=supernet, budget=budget, seed=0), judge)
    return [(supernet.extract(step.arch), {**described(supernet, step.arch),
                                           "validations": len(judge.losses)})
            for step in path if counted.of(step.arch) <= limit]


def front_rows(values: Any) -> list[int]:
    """Returns the rows of (N, 2), smaller is better, that none other is as good as in both."""
    found: list[int] = []
    for row in np.lexsort(values.T):  # by the last column, then by the first
        if not found or values[row, 0] < values[found[-1], 0]:
            found.append(int(row))
    return found


def described(supernet: TimmSupernet, arch: Arch) -> dict[str, Any]:
    """Returns an architecture by its genes."""
    genes: Mapping[str, Any] = arch.as_dict()
    return {"genes": dict(genes), "space": f"{supernet.space.size:.1e}"}


def _profile(net: Net, supernet: TimmSupernet) -> HardwareProfile:
    path = net.work / f"profile-{supernet.space.id.rpartition('-')[2]}.json"
    if not path.is_file():
        config = make_config({"supernet": MODEL})
        path.write_bytes(profile_bytes(device_profile(config, supernet, watch=silent)))
    return read_profile(path)


def _fresh(path: Path) -> Path:
    path.unlink(missing_ok=True)
    return path

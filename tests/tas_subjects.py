"""Networks to prune in tests: small spaces, whose costs are known exactly."""

from collections.abc import Mapping, Sequence
from typing import Any

from timm_models import Images, make_model
from torch import nn

from nas.core.costs import ClosedFormCosts
from supernets.tas.budget import Budget, NetworkCost
from supernets.tas.subject import Subject
from supernets.timm.elastic import Elastic, Ratios
from supernets.timm.excluded import excluding
from supernets.timm.families import describe_model
from supernets.timm.supernet import TimmSupernet

COARSE = (0.5, 0.75, 1.0)
FINE = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Model → side of its images, parts of its widths, their multiple.
MODELS = {"cifar_resnet20": (16, COARSE, 1), "resnet18": (32, COARSE, 8),
          "mobilenetv2_100": (32, COARSE, 8)}


def make_supernet(name: str, *, model: nn.Module | None = None, fixed: Sequence[str] = (),
                  order: Mapping[str, Sequence[int]] | None = None, **ratios: Any) -> TimmSupernet:
    """Returns the supernet of one of `MODELS`, of weights that all tell, or of one like it."""
    side, parts, multiple = MODELS[name]
    made = make_model(name) if model is None else model
    chosen = {"inner": parts, "width": parts, "depth": 0.01, "multiple": multiple,
              "nearest": multiple > 1, "kernels": False, **ratios}
    facts = describe_model(made)
    if fixed:
        facts = excluding(facts, fixed, [path for path, _ in made.named_modules() if path])
    elastic = Elastic(f"{name}/tas", facts, Ratios(**chosen), order or {})
    return TimmSupernet(made, elastic, Images((3, side, side))).eval()


def make_cost(supernet: TimmSupernet, metric: str = "macs") -> NetworkCost:
    """Returns an exact cost of a supernet's networks."""
    costs = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    table = costs.block_table(metric)
    return NetworkCost(metric=metric, space=supernet.space, vocabulary=supernet.slots,
                       predict=lambda codes: costs.predict(metric, codes).value,
                       shares=lambda _: table)


def make_subject(supernet: TimmSupernet, share: float, *, metric: str = "macs",
                 seed: int = 0) -> Subject:
    """Returns what is to be pruned to a share of the whole network's cost."""
    cost = make_cost(supernet, metric)
    whole = cost.of(supernet.space.extreme(largest=True))
    return Subject(supernet=supernet, budget=Budget(cost=cost, limit=share * whole), seed=seed)

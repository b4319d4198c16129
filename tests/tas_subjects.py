"""Networks to prune in tests: small spaces, whose costs are known exactly."""

import timm
from timm_models import Images, make_model
from torch import nn

from nas.core.costs import ClosedFormCosts
from supernets.tas.budget import Budget, NetworkCost
from supernets.tas.subject import Subject
from supernets.timm.elastic import Elastic, Ratios
from supernets.timm.families import describe_model
from supernets.timm.supernet import TimmSupernet

COARSE = (0.5, 0.75, 1.0)
FINE = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Model → side of its images, parts of its widths, their multiple.
MODELS = {"cifar_resnet20": (16, COARSE, 1), "resnet18": (32, FINE, 8),
          "mobilenetv2_100": (32, COARSE, 8)}


def make_supernet(name: str, *, model: nn.Module | None = None, **ratios: object) -> TimmSupernet:
    """Returns the supernet of a model, by default one of `MODELS`, of weights that all tell."""
    side, parts, multiple = MODELS[name]
    made = model or (timm.create_model(name, num_classes=10) if name not in MODELS
                     else make_model(name))
    chosen = {"inner": parts, "width": parts, "depth": 0.01, "multiple": multiple,
              "nearest": multiple > 1, "kernels": False, **ratios}
    elastic = Elastic(f"{name}/tas", describe_model(made), Ratios(**chosen))
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

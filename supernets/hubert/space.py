"""The search space of an elastic HuBERT, and what an architecture of it has."""

from dataclasses import dataclass
from typing import Any

from nas.core.arch import Arch
from nas.core.errors import ArchError
from nas.core.space import Condition, Gene, GeneSpace
from supernets.hubert.config import ElasticHubertConfig


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One transformer layer of a subnet.

    Attributes:
        index: Of the stored layer.
        heads: Attention heads.
        units: FFN units.
    """

    index: int
    heads: int
    units: int


@dataclass(frozen=True, slots=True)
class SubnetPlan:
    """What a subnet has: its width and its layers, in order."""

    embed: int
    layers: tuple[LayerPlan, ...]

    def is_uniform(self, head_dim: int) -> bool:
        """Returns whether a HuBERT configuration can say it.

        So it is where all layers have the same FFN units, and heads that span the width.
        """
        return {layer.heads * head_dim for layer in self.layers} == {self.embed} and (
            len({layer.units for layer in self.layers}) == 1)


def build_space(config: ElasticHubertConfig) -> GeneSpace:
    """Returns the space: width and depth of the network, heads and FFN ratio of each layer.

    The genes of a layer that the depth drops do not matter.
    """
    genes = [Gene("embed", config.embeds), Gene("depth", config.depths)]
    for layer in range(config.layers):
        kept = tuple(depth for depth, dropped in zip(config.depths, config.dropped, strict=True)
                     if layer not in dropped)
        live = None if kept == config.depths else Condition("depth", kept)
        genes += [Gene(f"layer{layer}.heads", config.heads, live),
                  Gene(f"layer{layer}.ratio", config.ratios, live)]
    return GeneSpace(config.name, tuple(genes))


def plan(config: ElasticHubertConfig, arch: Arch) -> SubnetPlan:
    """Returns what an architecture has. It must be of the configuration's space.

    Raises:
        ArchError: It is of another space.
    """
    if arch.space_id != config.name:
        raise ArchError(f"architecture is of space {arch.space_id!r}, not {config.name!r}")
    choice: dict[str, Any] = arch.as_dict()
    dropped = config.dropped[config.depths.index(choice["depth"])]
    embed = choice["embed"]
    return SubnetPlan(embed, tuple(
        LayerPlan(layer, choice[f"layer{layer}.heads"],
                  int(choice[f"layer{layer}.ratio"] * embed))
        for layer in range(config.layers) if layer not in dropped))

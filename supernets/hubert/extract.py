"""From the supernet's weights to a module of one subnet that owns its own."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nas.core.errors import InputError
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.layers import ElasticPositionalConv
from supernets.hubert.plain import PlainHubert
from supernets.hubert.space import SubnetPlan

_POSITION = "encoder.pos_conv_embed.conv"
_GAIN, _DIRECTION = (f"{_POSITION}.parametrizations.weight.original{part}" for part in (0, 1))
_LAYERS = "encoder.layers."

NEEDS_SPEECH = ("transformers is not installed; `pip install '.[speech]'` brings what speech "
                "needs")


def extracted(config: ElasticHubertConfig, subnet: SubnetPlan, stored: Mapping[str, Tensor],
              position: ElasticPositionalConv) -> nn.Module:
    """Returns a subnet as a module of its own: stock where transformers has its shape.

    Args:
        config: Of the supernet.
        subnet: What to extract.
        stored: The supernet's state dict.
        position: Its positional convolution.

    Raises:
        InputError: It is a HubertModel's, and transformers is not installed.
    """
    with torch.device("meta"):  # no initialisation: every tensor is replaced below
        module = (stock_module(config, subnet) if subnet.is_uniform(config.head_dim)
                  else PlainHubert(config, subnet))
    return filled(module, config, subnet, stored, position)


@torch.no_grad()
def filled(module: nn.Module, config: ElasticHubertConfig, subnet: SubnetPlan,
           stored: Mapping[str, Tensor], position: ElasticPositionalConv) -> nn.Module:
    """Puts copies of a subnet's weights into a module of its shape; see `extracted`."""
    gain, direction = position.parts(subnet.embed)
    state: dict[str, Tensor] = {_GAIN: gain, _DIRECTION: direction}
    state[f"{_POSITION}.bias"] = position.bias[:subnet.embed]
    for name, target in module.state_dict().items():
        if name not in state:
            state[name] = _part(name, target.shape, config, subnet, stored)
    state = {name: part.detach().clone(memory_format=torch.contiguous_format)
             for name, part in state.items()}
    module.load_state_dict(state, assign=True)
    return module


def _part(name: str, shape: torch.Size, config: ElasticHubertConfig, subnet: SubnetPlan,
          stored: Mapping[str, Tensor]) -> Tensor:
    source = name
    if name.startswith(_LAYERS):
        place, rest = name.removeprefix(_LAYERS).split(".", 1)
        layer = subnet.layers[int(place)]
        source = f"{_LAYERS}{layer.index}.{rest}"
        if "intermediate_dense" in rest or rest.endswith("output_dense.weight"):
            return _units(stored[source], subnet.embed, config.unit_blocks(subnet.embed,
                                                                           layer.units),
                          axis=int("output" in rest))
    return stored[source][tuple(slice(size) for size in shape)]


def _units(tensor: Tensor, embed: int, blocks: Sequence[slice], *, axis: int) -> Tensor:
    # The FFN units of a subnet, which lie on an axis; another one is of the width.
    gathered = torch.cat([tensor[block] if axis == 0 else tensor[:embed, block]
                          for block in blocks], axis)
    return gathered[:, :embed] if axis == 0 and tensor.dim() == 2 else gathered


def stock_module(config: ElasticHubertConfig, subnet: SubnetPlan) -> nn.Module:
    """Returns a transformers HubertModel of a subnet's shape, on the current default device.

    It has no dropout, and masks nothing by itself; to have ``mask_time_indices`` obeyed, or
    SpecAugment drawn in training, switch `config.apply_spec_augment` on.

    Raises:
        InputError: transformers is not installed.
    """
    try:
        from transformers import HubertConfig, HubertModel
    except ImportError:
        raise InputError(NEEDS_SPEECH) from None
    layer = subnet.layers[0]
    stock = HubertConfig(
        hidden_size=subnet.embed, num_hidden_layers=len(subnet.layers),
        num_attention_heads=layer.heads, intermediate_size=layer.units,
        feat_extract_norm="layer", do_stable_layer_norm=False, conv_bias=False,
        conv_dim=[config.frontend_width] * len(config.kernels), conv_kernel=list(config.kernels),
        conv_stride=list(config.strides), num_conv_pos_embeddings=config.position_kernel,
        num_conv_pos_embedding_groups=config.position_groups, hidden_dropout=0.0,
        activation_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0,
        layerdrop=0.0, apply_spec_augment=False)
    # It draws its mask embedding on the CPU even where all else is on the meta device.
    with torch.random.fork_rng(devices=[]):
        module: nn.Module = HubertModel(stock)
    return module

"""What files call the weights of a HuBERT, against what the supernet calls them.

LightHuBERT's files have fairseq's names. Each map covers every tensor of a `HubertSupernet`, so
that names are translated both ways by one table.
"""

import re
from collections.abc import Iterable

# (the supernet's name, fairseq's), as parts that replace one another.
_FAIRSEQ = (
    (r"^masked_spec_embed$", "mask_emb"),
    (r"^(feature_extractor\.conv_layers\.\d+)\.conv\.", r"\1.0."),
    (r"^(feature_extractor\.conv_layers\.\d+)\.layer_norm\.", r"\1.2.1."),
    (r"^feature_projection\.layer_norm\.", "layer_norm."),
    (r"^feature_projection\.projection\.", "post_extract_proj."),
    (r"^encoder\.pos_conv_embed\.", "encoder.pos_conv.0."),
    (r"^(encoder\.layers\.\d+)\.attention\.", r"\1.self_attn."),
    (r"^(encoder\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"^(encoder\.layers\.\d+)\.feed_forward\.intermediate_dense\.", r"\1.fc1."),
    (r"^(encoder\.layers\.\d+)\.feed_forward\.output_dense\.", r"\1.fc2."),
)

# The supernet has transformers' names, but for the two parts of a weight norm.
_TRANSFORMERS = (
    (r"^encoder\.pos_conv_embed\.weight_g$",
     "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"^encoder\.pos_conv_embed\.weight_v$",
     "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"^encoder\.pos_conv_embed\.bias$", "encoder.pos_conv_embed.conv.bias"),
)

# Of transformers before torch parametrized weight norm: the folders that were published.
_OLDER = (("encoder.pos_conv_embed.conv.weight_g", _TRANSFORMERS[0][1]),
          ("encoder.pos_conv_embed.conv.weight_v", _TRANSFORMERS[1][1]))

PREDICTION_HEAD = "prediction_head.weight"


def fairseq_names(names: Iterable[str], layers: int) -> dict[str, str]:
    """Returns fairseq's name of each of a supernet's tensors.

    Args:
        names: The supernet's.
        layers: That it stores: the prediction head is that of the last one.
    """
    head = f"layer_pred_heads.{layers - 1}.weight"
    return {name: head if name == PREDICTION_HEAD else _replaced(name, _FAIRSEQ) for name in names}


def transformers_names(names: Iterable[str]) -> dict[str, str]:
    """Returns the name in a HubertModel of each of a supernet's tensors, its head left out."""
    return {name: _replaced(name, _TRANSFORMERS) for name in names if name != PREDICTION_HEAD}


def newer_name(name: str) -> str:
    """Returns what transformers calls a tensor today."""
    return dict(_OLDER).get(name, name)


def is_pretraining(name: str) -> bool:
    """Returns whether a tensor served HuBERT's pretraining alone, in fairseq's names."""
    return name == "label_embs_concat" or name.startswith("final_proj.")


def _replaced(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        changed, count = re.subn(pattern, replacement, name)
        if count:
            return changed
    return name

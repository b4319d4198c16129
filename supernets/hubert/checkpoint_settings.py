"""What checkpoints say of their network beside its weights, and which space they are of.

Weights do not tell everything: heads, strides and the place of norms are settings only. Small and
base supernets store tensors of the same shapes.
"""

import ast
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nas.core.errors import DataError, SpaceError
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.presets import BASE, SMALL

ELASTIC = "elastic"  # of a file of this project: its whole configuration

_STAGE_2, _STAGE_1, _FAIRSEQ = "hubert_pruner", "student_hubert", "hubert"
_YAML = {"base.yaml": BASE, "small.yaml": SMALL}


def detected_space(settings: Mapping[str, Any]) -> ElasticHubertConfig | None:
    """Returns the space that a LightHuBERT file says it is of; None where it does not.

    Stage-2 files name the description of their supernet, which ends in ``base.yaml`` or
    ``small.yaml`` (s3prl issue 357, by LightHuBERT's authors). A stage-1 model is one network, and
    that of either space; a HuBERT of fairseq or transformers knows of none.

    Args:
        settings: ``cfg["model"]``.

    Raises:
        DataError: A configuration of this project's that cannot be read.
    """
    if ELASTIC in settings:
        try:
            return ElasticHubertConfig.from_dict(settings[ELASTIC])
        except SpaceError as error:
            raise DataError(f"the checkpoint's {ELASTIC} setting cannot be read ({error}); save it "
                            "again") from None
    name = str(settings.get("pruner_supernet", "")).lower()
    if settings.get("_name") == _STAGE_2:
        return next((space for ending, space in _YAML.items() if name.endswith(ending)), None)
    return None


def untold(settings: Mapping[str, Any]) -> str:
    """Returns why a checkpoint does not say which space it is of."""
    if settings.get("_name") == _STAGE_1:
        return "is a stage-1 model, which both hubert-base and hubert-small can start from"
    return "does not say which space it is of"


def fairseq_settings(config: ElasticHubertConfig) -> dict[str, Any]:
    """Returns what ``cfg["model"]`` must say where it says it, in fairseq's names."""
    convolutions = [(config.frontend_width, kernel, stride) for kernel, stride
                    in zip(config.kernels, config.strides, strict=True)]
    return {
        "extractor_mode": "layer_norm", "layer_norm_first": False, "conv_bias": False,
        "activation_fn": "gelu", "layer_type": "transformer", "pos_conv_depth": 1,
        "encoder_layers": config.layers, "encoder_embed_dim": config.width,
        "encoder_ffn_embed_dim": config.stored_units,
        "encoder_attention_heads": config.stored_heads,
        "conv_feature_layers": str(convolutions), "conv_pos": config.position_kernel,
        "conv_pos_groups": config.position_groups}


def lighthubert_settings(config: ElasticHubertConfig) -> dict[str, Any]:
    """Returns ``cfg["model"]`` of a LightHuBERT file of a space."""
    yaml = {space.name: f"Supernet-{ending.capitalize()}" for ending, space in _YAML.items()}
    return {"_name": _STAGE_2, "pruner_supernet": yaml.get(config.name, config.name),
            **fairseq_settings(config), ELASTIC: _lists(asdict(config))}


def plain_settings(config: ElasticHubertConfig) -> dict[str, Any]:
    """Returns ``cfg["model"]`` of fairseq's HuBERT."""
    return {"_name": _FAIRSEQ, **fairseq_settings(config)}


def transformers_settings(config: ElasticHubertConfig) -> dict[str, Any]:
    """Returns what a folder's ``config.json`` must say where it says it."""
    return {
        "model_type": "hubert", "feat_extract_norm": "layer", "do_stable_layer_norm": False,
        "conv_bias": False, "hidden_act": "gelu", "feat_extract_activation": "gelu",
        "feat_proj_layer_norm": True, "conv_pos_batch_norm": False, "layer_norm_eps": 1e-5,
        "num_hidden_layers": config.layers, "hidden_size": config.width,
        "intermediate_size": config.stored_units, "num_attention_heads": config.stored_heads,
        "conv_dim": [config.frontend_width] * len(config.kernels),
        "conv_kernel": list(config.kernels), "conv_stride": list(config.strides),
        "num_conv_pos_embeddings": config.position_kernel,
        "num_conv_pos_embedding_groups": config.position_groups}


def contradiction(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Returns the first setting of a file that is not as it must be, as a text; None: all are."""
    for key, value in wanted.items():
        if key in found and _comparable(key, found[key]) != _comparable(key, value):
            return f"{key} is {found[key]!r}, not {value!r}"
    return None


def _comparable(key: str, value: Any) -> Any:
    return _convolutions(value) if key == "conv_feature_layers" else _lists(value)


def _convolutions(text: Any) -> Any:
    # fairseq writes "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2" and evaluates it as code.
    layers: list[Any] = []
    try:
        for part in str(text).split("+"):
            listed, _, times = part.partition("*")
            layers += ast.literal_eval(listed.strip()) * int(times or 1)
    except (ValueError, SyntaxError, TypeError):
        return text
    return layers


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value

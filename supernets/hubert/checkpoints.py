"""Checkpoints of HuBERTs to supernets and back: see `checkpoint_files` for what they look like."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from nas.core.errors import DataError, InputError
from nas.core.files import replace_file
from supernets.hubert import checkpoint_settings as said
from supernets.hubert.checkpoint_files import Checkpoint, read_checkpoint
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.extract import stock_module
from supernets.hubert.folder import save_folder
from supernets.hubert.keys import (
    PREDICTION_HEAD,
    fairseq_names,
    transformers_names,
)
from supernets.hubert.presets import PRESETS
from supernets.hubert.space import LayerPlan, SubnetPlan
from supernets.hubert.supernet import HubertSupernet

Layout = Literal["lighthubert", "fairseq", "transformers"]

_SHOWN = 3  # names in an error's list


def load_checkpoint(path: Path, config: ElasticHubertConfig | None = None, *,
                    target_dim: int | None = None) -> HubertSupernet:
    """Returns the supernet of a checkpoint, in evaluation mode and single precision.

    Args:
        path: A LightHuBERT or fairseq file, or a folder of transformers.
        config: The space; None: the one that the file says. Only LightHuBERT's stage 2 says it.
        target_dim: Features of the prediction head; None: the head is as the file has it, or not
            there. Where the file has none, a new one is drawn, as a new supernet's is.

    Raises:
        DataError: See `read_checkpoint`; weights are missing, too many, of another shape or not
            finite, or the network is another than the space stores.
        InputError: Nothing says which space it is, or the file says another published one.
    """
    found = read_checkpoint(path)
    config = _config(found, config)
    settings = (said.transformers_settings if found.in_transformers else said.fairseq_settings)
    other = said.contradiction(found.settings, settings(config))
    if other is not None:
        raise DataError(f"{path} is not what {config.name} stores: its {other}; give the space "
                        "that it is of")
    head = None if found.in_transformers else found.tensors.get(
        fairseq_names([PREDICTION_HEAD], config.layers)[PREDICTION_HEAD])
    rows = target_dim if head is None or head.dim() != 2 else len(head)
    if target_dim not in (None, rows):
        raise InputError(f"{path} has a prediction head of {rows} features, not {target_dim}; "
                         "leave target_dim out")
    return _filled(found, config, rows, new_head=head is None)


def save_checkpoint(net: HubertSupernet, path: Path, layout: Layout) -> None:
    """Writes all that a supernet stores; the file or folder is whole or not there.

    Args:
        net: Whose weights.
        path: Of a file, which is replaced; of a new folder for transformers.
        layout: ``"lighthubert"`` keeps the prediction head and the whole configuration;
            ``"fairseq"`` and ``"transformers"`` have a place for neither.

    Raises:
        InputError: transformers is not installed, or its HuBERT cannot have the stored shape.
        OSError: The place is taken, or a file cannot be written.
    """
    config = net.config
    state = {name: tensor.detach().cpu().contiguous()
             for name, tensor in net.state_dict().items()}
    if layout == "transformers":
        save_folder(_whole_module(config, state), path)
        return
    if layout == "fairseq":
        state.pop(PREDICTION_HEAD, None)
    settings = (said.lighthubert_settings if layout == "lighthubert" else said.plain_settings)(
        config)
    names = fairseq_names(state, config.layers)
    payload = {"cfg": {"model": settings},
               "model": {names[name]: tensor for name, tensor in state.items()}}
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    replace_file(path, buffer.getvalue())


def _config(found: Checkpoint, config: ElasticHubertConfig | None) -> ElasticHubertConfig:
    if config is None:
        if found.space is None:
            raise InputError(f"{found.path} {said.untold(found.settings)}; give one of "
                             f"{', '.join(PRESETS)} as its space")
        return found.space
    published = {space.name for space in PRESETS.values()}
    if found.space is not None and config.name != found.space.name and (
            {config.name, found.space.name} <= published):
        raise InputError(f"{found.path} is a supernet of {found.space.name}, not {config.name}; "
                         "leave the space out")
    return config


def _filled(found: Checkpoint, config: ElasticHubertConfig, rows: int | None, *,
            new_head: bool) -> HubertSupernet:
    with torch.device("meta"):
        net = HubertSupernet(config, target_dim=rows)
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    if new_head:
        shapes.pop(PREDICTION_HEAD, None)
    names = (transformers_names(shapes) if found.in_transformers
             else fairseq_names(shapes, config.layers))
    _check_fit(found, {names[name]: shape for name, shape in shapes.items()}, config.name)
    state = {name: found.tensors[names[name]].float().contiguous() for name in shapes}
    if new_head and rows is not None:
        state[PREDICTION_HEAD] = torch.empty(rows, config.width).normal_(std=0.02)
    net.load_state_dict(state, assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_()
    return net.eval()


def _whole_module(config: ElasticHubertConfig, state: Mapping[str, Tensor]) -> torch.nn.Module:
    if config.stored_heads * config.head_dim != config.width:
        raise InputError(f"{config.name} stores {config.stored_heads} heads of {config.head_dim}, "
                         f"which do not span its width {config.width}: no HubertModel has this "
                         "shape; save it as lighthubert")
    layers = tuple(LayerPlan(layer, config.stored_heads, config.stored_units)
                   for layer in range(config.layers))
    with torch.device("meta"):
        module = stock_module(config, SubnetPlan(config.width, layers))
    module.load_state_dict({theirs: state[ours] for ours, theirs
                            in transformers_names(state).items()}, assign=True)
    return module


def _check_fit(found: Checkpoint, shapes: Mapping[str, torch.Size], space: str) -> None:
    # The names in messages are the file's.
    wrong = {
        "missing": sorted(set(shapes) - set(found.tensors)),
        "unexpected": sorted(set(found.tensors) - set(shapes)),
        "of another shape": sorted(name for name, tensor in found.tensors.items()
                                   if name in shapes and tensor.shape != shapes[name])}
    parts = [f"{len(names)} tensors are {what} ({', '.join(names[:_SHOWN])}"
             f"{', …' if len(names) > _SHOWN else ''})" for what, names in wrong.items() if names]
    if parts:
        raise DataError(f"{found.path} does not hold the weights that {space} stores: "
                        f"{'; '.join(parts)}; give those of this space, or the space they are of")
    broken = [name for name in shapes if not bool(torch.isfinite(found.tensors[name]).all())]
    if broken:
        raise DataError(f"{found.path}: {len(broken)} tensors hold numbers that are not finite, "
                        f"the first {broken[0]}; fetch it again")

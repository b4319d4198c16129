"""Checkpoints of VAR and of its VQVAE, both ways, by the names that its authors' code gives.

A published file holds the weights of one model by name. A trainer's file holds those of both:
``{"trainer": {"var_wo_ddp": …, "vae_local": …}}``. Besides weights the names of VAR have constants,
which follow from the configuration: they are left out here and written again. Nothing is unpickled:
only tensors and plain values are read.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from nas.core.errors import DataError, InputError
from nas.core.files import replace_file
from supernets.var.checkpoint_files import read_weights
from supernets.var.config import VarConfig
from supernets.var.presets import PRESETS
from supernets.var.supernet import VarSupernet
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_config import VaeConfig

Layout = Literal["weights", "trainer"]
Net = TypeVar("Net", bound=nn.Module)

_VAR, _VAE = "var_wo_ddp", "vae_local"
_LEVELS, _MASK, _KEY_BIAS = "lvl_1L", "attn_bias_for_masking", "zero_k_bias"
_HITS = "quantize.ema_vocab_hit_SV"
_SHOWN = 3  # names in an error's list


def load_var(path: Path, config: VarConfig | None = None) -> VarSupernet:
    """Returns the transformer of a checkpoint, in evaluation mode and single precision.

    Args:
        path: A file of weights, or of VAR's trainer.
        config: What it is; None: the preset that its shapes fit.

    Raises:
        DataError: The file cannot be read, or is of another depth, other patch numbers or other
            sizes; weights are missing, too many or not finite.
        InputError: No configuration is given and no preset fits.
    """
    found = read_weights(path, _VAR)
    levels = found.pop(_LEVELS, None)
    for name in [name for name in found if name == _MASK or name.endswith(_KEY_BIAS)]:
        del found[name]
    config = config or _preset(path, found, levels)
    depth = _depth(found)
    if depth != config.depth:
        raise DataError(f"{path} has {depth} layers and {config.name} {config.depth}; give the "
                        "checkpoint or the configuration of the other")
    if levels is not None and _sides(levels) != config.patch_nums:
        raise DataError(f"{path} has the patch numbers {_sides(levels)} and {config.name} "
                        f"{config.patch_nums}; give the configuration that it was trained with")
    with torch.device("meta"):
        net = VarSupernet(config)
    return _filled(net, found, path, config.name)


def save_var(net: VarSupernet, path: Path, layout: Layout = "weights") -> None:
    """Writes a transformer as VAR's code reads it, strictly; the file is whole or not there.

    Raises:
        OSError: The file cannot be written.
    """
    config, state = net.config, _state(net)
    levels_L = net.levels(torch.device("cpu"))
    state[_LEVELS] = levels_L[None]
    allowed = levels_L[:, None] >= levels_L
    state[_MASK] = torch.zeros(1, 1, *allowed.shape).masked_fill(~allowed, -torch.inf)
    for layer in range(config.depth):
        state[f"blocks.{layer}.attn.{_KEY_BIAS}"] = torch.zeros(config.width)
    _write(path, state, _VAR, layout)


def load_vae(path: Path, config: VaeConfig) -> MultiScaleVqvae:
    """Returns the VQVAE of a checkpoint, in evaluation mode and single precision.

    Args:
        path: A file of weights, or of VAR's trainer.
        config: What it is; weights do not tell patch numbers.

    Raises:
        DataError: As of `load_var`.
    """
    found = read_weights(path, _VAE)
    found.pop(_HITS, None)  # how often the training met each code: no weights
    with torch.device("meta"):
        net = MultiScaleVqvae(config)
    return _filled(net, found, path, config.name)


def save_vae(net: MultiScaleVqvae, path: Path, layout: Layout = "weights") -> None:
    """Writes a VQVAE as VAR's code reads it; its record of codes met in training is empty.

    Raises:
        OSError: The file cannot be written.
    """
    state = _state(net)
    state[_HITS] = torch.zeros(len(net.config.patch_nums), net.config.vocabulary)
    _write(path, state, _VAE, layout)


def _state(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}


def _write(path: Path, state: Mapping[str, Tensor], model: str, layout: Layout) -> None:
    buffer = io.BytesIO()
    torch.save(dict(state) if layout == "weights" else {"trainer": {model: dict(state)}}, buffer)
    replace_file(path, buffer.getvalue())


def _depth(found: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[1] for name in found if name.startswith("blocks.")})


def _sides(levels_1L: Tensor) -> tuple[int, ...]:
    counts = torch.bincount(levels_1L.flatten().to(torch.int64))
    return tuple(round(count**0.5) for count in counts.tolist())


def _preset(path: Path, found: Mapping[str, Tensor], levels: Tensor | None) -> VarConfig:
    positions = found.get("pos_1LC")
    sizes = None if positions is None else (_depth(found), *positions.shape[1:])
    for config in PRESETS.values():
        if sizes == (config.depth, config.tokens, config.width) and (
                levels is None or _sides(levels) == config.patch_nums):
            return config
    raise InputError(f"{path} fits none of {', '.join(PRESETS)} (layers, tokens, width: {sizes}); "
                     "give the configuration that it was trained with")


def _filled(net: Net, found: Mapping[str, Tensor], path: Path, name: str) -> Net:
    # The net is on the meta device: every tensor is replaced.
    shapes = {key: tensor.shape for key, tensor in net.state_dict().items()}
    wrong = {"missing": sorted(set(shapes) - set(found)),
             "unexpected": sorted(set(found) - set(shapes)),
             "of another shape": sorted(key for key, tensor in found.items()
                                        if key in shapes and tensor.shape != shapes[key])}
    parts = [f"{len(keys)} tensors are {what} ({', '.join(keys[:_SHOWN])}"
             f"{', …' if len(keys) > _SHOWN else ''})" for what, keys in wrong.items() if keys]
    if parts:
        raise DataError(f"{path} does not hold the weights of {name}: {'; '.join(parts)}; give "
                        "the configuration that it was trained with")
    broken = [key for key in shapes if not bool(torch.isfinite(found[key]).all())]
    if broken:
        raise DataError(f"{path}: {len(broken)} tensors hold numbers that are not finite, the "
                        f"first {broken[0]}; fetch it again")
    net.load_state_dict({key: found[key].float().contiguous() for key in shapes}, assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_()
    return net.eval()

"""timm's models by name, with weights that are checked. Legend: K classes."""

import copy
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, split_model_name_tag
from torch import nn

from nas.core.errors import InputError
from supernets.timm.cifar_resnet import register as register_cifar_resnets
from supernets.timm.pretrained import fetched
from supernets.timm.weight_files import Tensors, class_count, misfit, read_weights

Notice = Callable[[str], None]  # told in one line


def create_model(name: str, *, num_classes: int, in_chans: int, img_size: int | None = None,
                 weights: Path | None = None, pretrained: bool = False, new_head: bool = False,
                 notice: Notice | None = None) -> nn.Module:
    """Returns a stock timm model in evaluation mode, on the CPU.

    Args:
        name: timm's, with or without a tag of pretrained weights.
        num_classes: Length of its logits.
        in_chans: Channels of its input; where weights have others, timm adapts the first layer.
        img_size: Side of its input; None: the model's own.
        weights: File to load, as timm or torch wrote it.
        pretrained: Whether to load the weights that timm offers, from its cache or the network. A
            head of another number of classes is left out, as timm does it.
        new_head: Whether the head of `weights` may be left out, too.
        notice: Told if there is a new head.

    Raises:
        InputError: An unknown name, a shape that the model does not take, weights that cannot be
            fetched or read or are of another model or other classes.
    """
    if weights is not None and pretrained:
        raise InputError(f"--weights {weights} and --pretrained are two sources of weights; give "
                         "one of them")
    check_name(name)
    shape: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_chans}
    if img_size is not None and _config(name).fixed_input_size:
        shape["img_size"] = img_size
    model = _plain(name, shape)
    _check_side(model, name, img_size or _config(name).input_size[-1], in_chans)
    if pretrained:
        model = fetched(name, shape)
        _tell(notice, _config(name).num_classes, num_classes)
    elif weights is not None:
        _load(model, name, weights, shape, new_head=new_head, notice=notice)
    return model.eval()


def check_name(name: str) -> None:
    """Checks that timm has a model of that name, and weights of its tag.

    Raises:
        InputError: It has not; the nearest names are offered.
    """
    register_cifar_resnets()
    known = timm.list_models()
    plain, tag = split_model_name_tag(name)
    if plain not in known:
        raise InputError(f"timm has no model {plain!r}; {_near(plain, known)}")
    tagged = timm.list_models(plain, include_tags=True)
    if tag and name not in tagged:
        raise InputError(f"timm has no weights {tag!r} of {plain}; {_near(name, tagged)}")


def preprocessing_of(name: str) -> dict[str, Any]:
    """Returns how the model's own weights were trained to see images.

    The values are those of ``timm.data.resolve_data_config``.
    """
    from timm.data.config import resolve_data_config

    found: dict[str, Any] = resolve_data_config(  # type: ignore[no-untyped-call]
        {}, pretrained_cfg=_config(name).to_dict())
    return found


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return (f"did you mean {' or '.join(near)}?" if near
            else "timm.list_models() in Python gives all names")


def _config(name: str) -> Any:
    return get_pretrained_cfg(name)


def _plain(name: str, shape: dict[str, Any]) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(name, **shape)
    except (RuntimeError, ValueError, TypeError, AssertionError, ZeroDivisionError) as error:
        raise InputError(f"timm cannot make {name} with {shape} ({_one_line(error)}); give "
                         "another image size") from None
    return model


def _check_side(model: nn.Module, name: str, side: int, channels: int) -> None:
    meta = copy.deepcopy(model).to("meta").eval()
    try:
        with torch.no_grad():
            meta(torch.empty(1, channels, side, side, device="meta"))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise InputError(f"{name} does not take images of {side}×{side} ({_one_line(error)}); give "
                         "another image size") from None


def _load(model: nn.Module, name: str, file: Path, shape: dict[str, Any], *, new_head: bool,
          notice: Notice | None) -> None:
    state = read_weights(file)
    wanted, found = shape["num_classes"], class_count(state, _config(name).classifier)
    if found is None:
        raise InputError(misfit(file, name, state, model, "it has no classifier"))
    if found != wanted and not new_head:
        raise InputError(f"{file} is of a network with {found} classes, and {wanted} are wanted; "
                         "give weights of as many, or allow a new head in place of its own "
                         "(--new-head)")
    whole = _filled(model, name, file, state, {**shape, "num_classes": found})
    if found != wanted:
        fresh = {key: value for key, value in model.state_dict().items()
                 if value.shape != whole[key].shape}
        whole.update(fresh)
    _tell(notice, found, wanted)
    model.load_state_dict(whole)


def _filled(model: nn.Module, name: str, file: Path, state: Tensors, shape: dict[str, Any]
            ) -> Tensors:
    # By timm's own way of loading, which knows each model's older names and resizes position
    # embeddings and first layers.
    overlay = {"state_dict": state, "num_classes": shape["num_classes"], "custom_load": False,
               "label_offset": 0}
    try:
        loaded: nn.Module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay,
                                              **shape)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(misfit(file, name, state, model, _one_line(error))) from None
    return dict(loaded.state_dict())


def _tell(notice: Notice | None, found: int, wanted: int) -> None:
    if notice is not None and found != wanted:
        notice(f"a new head for {wanted} classes: the weights' own has {found}")


def _one_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "").strip() or type(error).__name__

"""The weights that timm offers: from its cache, or from the network if there is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
from huggingface_hub import constants, get_hf_file_metadata
from huggingface_hub.errors import HfHubHTTPError
from timm.models import get_pretrained_cfg
from torch import nn

from nas.core.errors import InputError


def fetched(name: str, shape: dict[str, Any]) -> nn.Module:
    """Returns a timm model with the weights that timm offers.

    Args:
        name: A known one, with or without a tag.
        shape: Further arguments of ``timm.create_model``, which are known to be right.

    Raises:
        InputError: There are none, or they are neither in the cache nor can be fetched.
    """
    config: Any = get_pretrained_cfg(name)
    if not config.has_weights:
        raise InputError(f"timm has no pretrained weights of {name}; leave --pretrained out or "
                         "give --weights FILE")
    address = _address(config)
    try:
        with _offline_if_unreachable(address, hub=bool(config.hf_hub_id)):
            model: nn.Module = timm.create_model(name, pretrained=True, **shape)
    except Exception as error:  # of several libraries, for a file that cannot be fetched
        reason = next(iter(str(error).splitlines()), "").strip() or type(error).__name__
        raise InputError(f"the pretrained weights of {name} cannot be had here ({reason}); "
                         f"download {address} elsewhere and give --weights FILE") from None
    return model


@contextmanager
def _offline_if_unreachable(address: str, *, hub: bool) -> Iterator[None]:
    # One request tells whether there is a network; a download would try for half a minute, also
    # where the file is in the cache.
    before = constants.HF_HUB_OFFLINE
    if hub and not before:
        try:
            get_hf_file_metadata(address)
        except HfHubHTTPError:
            pass  # somebody answers
        except Exception:  # of whichever client makes the request
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _address(config: Any) -> str:
    if config.hf_hub_id:
        file = config.hf_hub_filename or "model.safetensors"
        return f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{file}"
    return str(config.url)

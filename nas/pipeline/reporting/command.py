"""How to do it again: the command line of a configuration."""

import shlex
from typing import Any

from nas.pipeline.config import TRAINED, SearchConfig
from nas.search.storage_url import shown


def command_line(config: SearchConfig) -> str:
    """Returns the `nas search` that this configuration came from.

    Options at their defaults are left out, but for supernet, device, budget and seed; so is
    ``--out``, which must be new each time. A storage URL loses its password.
    """
    words = ["nas", "search"]
    usual = TRAINED if config.evaluation == "trained" else {}
    for name, field in SearchConfig.model_fields.items():
        value = getattr(config, name)
        always = name in ("supernet", "device", "budget", "seed")
        default = usual.get(name, field.default)
        if name == "out" or value is None or (value == default and not always):
            continue
        if name == "storage":
            value = shown(value)
        words += _option(name, value)
    return shlex.join(words)


def _option(name: str, value: Any) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if name == "searcher_options":
        return [word for item in value.items() for word in ("--searcher-option", _pair(*item))]
    if isinstance(value, dict):
        return [option, ",".join(_pair(*item) for item in value.items())]
    if value is True:  # a flag stands for itself
        return [option]
    return [option, ",".join(value) if isinstance(value, tuple) else str(value)]


def _pair(name: str, value: Any) -> str:
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"

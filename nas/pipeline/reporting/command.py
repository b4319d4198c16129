"""How to do it again: the command line of a configuration."""

import shlex

from nas.pipeline.config import SearchConfig
from nas.search.ledger import shown


def command_line(config: SearchConfig) -> str:
    """Returns the `nas search` that this configuration came from.

    Options at their defaults are left out, but for supernet, device, budget and seed; so is
    ``--out``, which must be new each time. A storage URL loses its password.
    """
    words = ["nas", "search"]
    for name, field in SearchConfig.model_fields.items():
        value = getattr(config, name)
        always = name in ("supernet", "device", "budget", "seed")
        if name == "out" or value is None or (value == field.default and not always):
            continue
        if name == "storage":
            value = shown(value)
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:  # a flag stands for itself
            words.append(",".join(value) if isinstance(value, tuple) else str(value))
    return shlex.join(words)

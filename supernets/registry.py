"""The supernets by name. A new one is one line here: its factory is called with `device`.

What has a ``config`` is known without weights: ``space`` makes its space of that, and ``design``
its space and blocks.
"""

from nas.core.registry import Entry, Registry

_MOBILENET = {"family": "mobilenet", "space": "supernets.mobilenet.config:build_space",
              "design": "supernets.mobilenet.blocks:planned"}
_HUBERT = {"family": "hubert", "space": "supernets.hubert.space:build_space",
           "design": "supernets.hubert.blocks:planned"}
_VAR = {"family": "var", "space": "supernets.var.space:build_space",
        "design": "supernets.var.blocks:planned"}

SUPERNETS = Registry("supernet", (
    Entry("mobilenet-fmnist", "supernets.shipped:mobilenet_fmnist",
          {**_MOBILENET, "shipped": True, "config": "supernets.mobilenet.presets:FMNIST"}),
    Entry("hubert-digits", "supernets.shipped:hubert_digits",
          {**_HUBERT, "shipped": True, "config": "supernets.hubert.presets:TINY"}),
    Entry("hubert-tiny", "supernets.hubert.presets:untrained_tiny",
          {**_HUBERT, "config": "supernets.hubert.presets:TINY"}),
    Entry("hubert", "supernets.hubert.presets:untrained_tiny",  # another name of hubert-tiny
          {**_HUBERT, "config": "supernets.hubert.presets:TINY"}),
    Entry("hubert-small", "supernets.hubert.presets:untrained_small",
          {**_HUBERT, "config": "supernets.hubert.presets:SMALL"}),
    Entry("hubert-base", "supernets.hubert.presets:untrained_base",
          {**_HUBERT, "config": "supernets.hubert.presets:BASE"}),
    Entry("var-fmnist", "supernets.shipped:var_fmnist",
          {**_VAR, "shipped": True, "config": "supernets.var.presets:FMNIST"}),
    *(Entry(f"var-d{depth}", f"supernets.var.untrained:d{depth}",
            {**_VAR, "config": f"supernets.var.presets:D{depth}"}) for depth in (16, 20, 24, 30)),
))

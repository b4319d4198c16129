"""The supernets by name. A new one is one line here: its factory is called with `device`."""

from nas.core.registry import Entry, Registry

SUPERNETS = Registry("supernet", (
    Entry("mobilenet-fmnist", "supernets.shipped:mobilenet_fmnist",
          {"family": "mobilenet", "shipped": True, "config": "supernets.mobilenet.presets:FMNIST"}),
))

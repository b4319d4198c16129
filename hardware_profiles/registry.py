"""The devices by name. A new one is one line here."""

from nas.core.registry import Entry, Registry

DEVICES = Registry("device", (
    Entry("host", "hardware_profiles.host:profile_host",
          {"kind": "measured", "runtime": "onnxruntime", "provider": "CPUExecutionProvider",
           "precision": "fp32", "threads": 1}),
))

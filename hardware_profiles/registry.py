"""The devices by name. A new one is one line here, and for an estimate one file in devices/."""

from nas.core.registry import Entry, Registry

_FIND = "hardware_profiles.estimate:find_estimate"
_BOARD = {"kind": "estimated", "runtime": "tensorrt", "provider": "TensorrtExecutionProvider",
          "precision": "fp16", "threads": 1, "note": "estimated, not measured on the device"}

DEVICES = Registry("device", (
    Entry("host", "hardware_profiles.host:profile_host",
          {"kind": "measured", "runtime": "onnxruntime", "provider": "CPUExecutionProvider",
           "precision": "fp32", "threads": 1, "note": "this machine"}),
    Entry("jetson", _FIND, {**_BOARD, "note": f"jetson-orin-nano; {_BOARD['note']}"}),
    Entry("jetson-nano", _FIND, _BOARD),
    Entry("jetson-tx2", _FIND, _BOARD),
    Entry("jetson-xavier-nx", _FIND, _BOARD),
    Entry("jetson-agx-xavier", _FIND, _BOARD),
    Entry("jetson-orin-nano", _FIND, _BOARD),
    Entry("jetson-agx-orin", _FIND, _BOARD),
    Entry("nvidia-t4", _FIND, _BOARD),
))

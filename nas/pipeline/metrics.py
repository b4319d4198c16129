"""The metrics of a search and the options that bound them."""

# Every metric that a search can trade, with its unit; that of error if its task has no `Quality`.
METRICS = {"error": "%", "latency_ms": "ms", "params": "1", "macs": "MAC", "activation_bytes": "B",
           "energy_mj": "mJ", "rtf": "1", "kv_bytes": "B"}

# Option of the command line → metric that it bounds.
BOUNDS = {"max_latency_ms": "latency_ms", "max_rtf": "rtf", "max_params": "params",
          "max_macs": "macs", "max_memory": "activation_bytes",
          "max_kv_mb": "kv_bytes"}

# Option that bounds a metric in another unit → that unit in the metric's.
BOUND_UNITS = {"max_kv_mb": 1e6}

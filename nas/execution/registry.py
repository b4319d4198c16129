"""The executors by name. A new one is one file and one line here."""

from nas.core.registry import Entry, Registry

EXECUTORS = Registry("executor", (
    Entry("serial", "nas.execution.serial:SerialExecutor", {"source": "one process"}),
    Entry("tune", "nas.execution.tune_executor:TuneExecutor",
          {"source": "Ray Tune, for --evaluation trained"}),
))

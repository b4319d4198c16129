"""The executors by name. A new one is one file and one line here."""

from nas.core.registry import Entry, Registry

EXECUTORS = Registry("executor", (
    Entry("serial", "nas.execution.serial:SerialExecutor",
          {"source": "one process", "parallel": False, "cluster": False}),
    Entry("process", "nas.execution.process:ProcessExecutor",
          {"source": "worker processes of this machine", "parallel": True, "cluster": False}),
    Entry("ray", "nas.execution.ray_executor:RayExecutor",
          {"source": "Ray actors, Moritz et al. 2018", "parallel": True, "cluster": True}),
    Entry("tune", "nas.execution.tune_executor:TuneExecutor",
          {"source": "Ray Tune, Liaw et al. 2018; for --evaluation trained", "parallel": True,
           "cluster": True}),
))

"""Neural architecture search over weight-sharing supernets, scored on measured latency.

The public API is imported on first use, so that `import nas` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hardware_profiles.profile import HardwareProfile as HardwareProfile
    from nas.core.arch import Arch as Arch
    from nas.core.errors import NasError as NasError
    from nas.pipeline.compose import load_supernet as load_supernet
    from nas.pipeline.config import SearchConfig as SearchConfig
    from nas.pipeline.export import export_subnet as export_subnet
    from nas.pipeline.profile import load_profile as load_profile
    from nas.pipeline.prune.request import PruneRequest as PruneRequest
    from nas.pipeline.prune.run import Pruned as Pruned
    from nas.pipeline.prune.run import prune as prune
    from nas.pipeline.result import SearchResult as SearchResult
    from nas.pipeline.search import resume_search as resume_search
    from nas.pipeline.search import run_search as run_search
    from nas.service.client import Client as Client

_PUBLIC = {
    "Arch": "nas.core.arch:Arch",
    "Client": "nas.service.client:Client",
    "HardwareProfile": "hardware_profiles.profile:HardwareProfile",
    "NasError": "nas.core.errors:NasError",
    "PruneRequest": "nas.pipeline.prune.request:PruneRequest",
    "Pruned": "nas.pipeline.prune.run:Pruned",
    "SearchConfig": "nas.pipeline.config:SearchConfig",
    "SearchResult": "nas.pipeline.result:SearchResult",
    "export_subnet": "nas.pipeline.export:export_subnet",
    "load_profile": "nas.pipeline.profile:load_profile",
    "load_supernet": "nas.pipeline.compose:load_supernet",
    "prune": "nas.pipeline.prune.run:prune",
    "resume_search": "nas.pipeline.search:resume_search",
    "run_search": "nas.pipeline.search:run_search",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__

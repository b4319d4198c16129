"""What is registered, as plain rows for `nas list`."""

from typing import Any

from hardware_profiles.host import host_device
from hardware_profiles.registry import DEVICES
from hardware_profiles.store import user_store
from nas.core.registry import Registry, resolve
from nas.execution.registry import EXECUTORS
from nas.search.registry import SEARCHERS
from predictors.registry import PROXIES
from supernets.registry import SUPERNETS
from supernets.timm.catalogue import listed


def supernets() -> list[dict[str, Any]]:
    """Returns name, family, exact space size and whether weights are shipped."""
    rows = []
    for entry in SUPERNETS.entries:
        config, space = entry.info.get("config"), entry.info.get("space")
        size = resolve(space)(resolve(config)).size if config and space else None
        rows.append({"name": entry.name, "family": entry.info.get("family"), "space_size": size,
                     "shipped": entry.info.get("shipped", False)})
    return rows


def timm_supernets(pattern: str) -> list[dict[str, Any]]:
    """Returns the timm models that become supernets: name, family, axes and exact space size.

    Args:
        pattern: Of timm's names, such as ``"mobilenet*"``.

    Raises:
        InputError: No name matches.
    """
    return [{"name": f"timm:{model['name']}", "family": model["family"],
             "axes": model["axes"], "genes": model["genes"], "space_size": model["space_size"],
             "params": model["params"], "shipped": False} for model in listed(pattern)]


def devices() -> list[dict[str, Any]]:
    """Returns name, kind, runtime, provider, precision and threads; imported ones come last."""
    here, imported = host_device().id, []
    for profile in (item.profile for item in user_store().list()):
        if profile is not None and profile.device.id != here:
            runtime = profile.runtime
            imported.append({
                "name": profile.device.id, "kind": profile.kind, "runtime": runtime.name,
                "provider": runtime.provider, "precision": runtime.precision,
                "threads": runtime.threads, "note": f"imported, of {profile.space}"})
    return [*_rows(DEVICES), *imported]


def proxies() -> list[dict[str, Any]]:
    """Returns name, cost, needs, published Spearman's ρ and source."""
    return _rows(PROXIES)


def searchers() -> list[dict[str, Any]]:
    """Returns name, source and whether several objectives are possible."""
    return _rows(SEARCHERS)


def executors() -> list[dict[str, Any]]:
    """Returns name and source."""
    return _rows(EXECUTORS)


def _rows(registry: Registry) -> list[dict[str, Any]]:
    return [{"name": entry.name, **entry.info} for entry in registry.entries]

"""Zero-cost proxies by name."""

from nas.core.protocols import ZeroCostProxy
from nas.core.registry import made
from predictors.registry import PROXIES


def load_proxy(name: str) -> ZeroCostProxy:
    """Returns a proxy by its registered name or ``module:Class``, called without arguments.

    Raises:
        InputError: There is none of that name, or it cannot be made or called.
    """
    factory = PROXIES.get(name).resolve()
    proxy: ZeroCostProxy = made("proxy", name, ("__call__",), lambda: factory())
    return proxy

"""The methods of pruning by name. A new one is one line here."""

from nas.core.errors import UnknownNameError
from nas.core.registry import Entry, Registry

TAS = "tas"

# `nas.pipeline.prune.choosing` has what each is given: a `supernets.tas.subject.Subject`, or with
# "needs" in its facts a `Job`.
METHODS = Registry("pruning method", (
    Entry(TAS, "nas.pipeline.prune.tas:tas", {"needs": "training"}),
    Entry("uniform", "supernets.tas.methods.uniform:uniform"),
    Entry("random", "supernets.tas.methods.random:random"),
    Entry("precrop", "supernets.tas.methods.precrop:precrop"),
), plural="pruning_methods")


def method_entry(name: str) -> Entry:
    """Returns the entry of a method's name, or of ``module:attribute``.

    Raises:
        UnknownNameError: There is none.
    """
    try:
        return METHODS.get(name)
    except UnknownNameError:
        known = ", ".join(entry.name for entry in METHODS.entries)
        raise UnknownNameError(f"unknown method {name!r} of pruning; known: {known}") from None

"""The methods of pruning by name. A new one is one line here."""

from nas.core.errors import UnknownNameError
from nas.core.registry import Entry, Registry

TAS = "tas"

# A method is a `supernets.tas.subject.PruneMethod`; with "needs": "work" in its facts it is a
# `nas.pipeline.prune.choosing.MakePruner`, and "space" makes the work that it is given.
METHODS = Registry("pruning method", (
    Entry(TAS, "nas.pipeline.prune.tas:tas", {"needs": "work"}),
    Entry("uniform", "supernets.tas.methods.uniform:uniform"),
    Entry("random", "supernets.tas.methods.random:random"),
    Entry("precrop", "supernets.tas.methods.precrop:precrop"),
    Entry("layer-tickets", "nas.pipeline.prune.tickets:layer_tickets",
          {"needs": "work", "space": "nas.pipeline.prune.tickets:scored_space"}),
    Entry("magnitude", "supernets.tas.methods.magnitude:magnitude"),
    Entry("netadapt", "nas.pipeline.prune.adapted:netadapt",
          {"needs": "work", "space": "nas.pipeline.prune.adapted:inner_space"}),
    Entry("n2n", "nas.pipeline.prune.reinforced:n2n", {"needs": "work"}),
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

"""The searchers by name. A new one is one file and one line here."""

from nas.core.registry import Entry, Registry

SEARCHERS = Registry("searcher", (
    Entry("evolution", "nas.search.evolution:EarlyExitEvolution",
          {"source": "EEEA-Net, Termritthikun et al. 2021", "multi_objective": True}),
    Entry("random", "nas.search.random_search:RandomSearch",
          {"source": "uniform draws, the baseline", "multi_objective": True}),
))

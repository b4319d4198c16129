"""The searchers by name. A new one is one file and one line here.

Facts of each: ``source``; ``multi_objective``, whether it takes several objectives;
``constraints``, how it treats bounds: ``"screen"`` only asks for what keeps them, ``"learns"`` is
also told by how much its candidates broke them (`Problem.excess`).
"""

from nas.core.registry import Entry, Registry


def _entry(name: str, target: str, source: str, *, multi_objective: bool = True,
           constraints: str = "screen") -> Entry:
    return Entry(name, target, {"source": source, "multi_objective": multi_objective,
                                "constraints": constraints})


SEARCHERS = Registry("searcher", (
    _entry("evolution", "nas.search.evolution:EarlyExitEvolution",
           "EEEA-Net, Termritthikun et al. 2021"),
    _entry("linas", "nas.search.linas:Linas", "LINAS, Cummings et al. 2022"),
    _entry("nsga2", "nas.search.nsga2:Nsga2", "Deb et al. 2002"),
    _entry("local", "nas.search.local_search:LocalSearch",
           "White et al. 2021; Pareto local search, Paquete et al. 2004"),
    _entry("random", "nas.search.random_search:RandomSearch", "uniform draws, the baseline"),
    _entry("optuna-tpe", "nas.search.optuna_samplers:tpe", "Optuna's TPESampler",
           constraints="learns"),
    _entry("optuna-nsga2", "nas.search.optuna_samplers:nsga2", "Optuna's NSGAIISampler"),
    _entry("optuna-nsga3", "nas.search.optuna_samplers:nsga3", "Optuna's NSGAIIISampler"),
    _entry("optuna-cmaes", "nas.search.optuna_samplers:cmaes", "Optuna's CmaEsSampler",
           multi_objective=False),
    _entry("optuna-gp", "nas.search.optuna_samplers:gp", "Optuna's GPSampler",
           constraints="learns"),
    _entry("optuna-qmc", "nas.search.optuna_samplers:qmc", "Optuna's QMCSampler"),
))

"""Which searchers can do several objectives."""

from nas.core.errors import InputError
from nas.core.problem import Problem
from nas.search.registry import SEARCHERS


def check_objectives(name: str, problem: Problem) -> None:
    """Checks that a searcher for one objective is given one.

    Raises:
        InputError: There are more; the message says which searchers can do them.
    """
    if len(problem.objectives) > 1:
        raise one_objective_only(name, problem)


def one_objective_only(name: str, problem: Problem) -> InputError:
    """Returns the error for a searcher that cannot do a problem's several objectives."""
    wanted = ", ".join(objective.name for objective in problem.objectives)
    able = ", ".join(entry.name for entry in SEARCHERS.builtin if entry.info.get("multi_objective"))
    return InputError(f"searcher {name!r} takes one objective, not {len(problem.objectives)} "
                      f"({wanted}); these take several: {able}")

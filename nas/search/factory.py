"""From a name and options to a searcher, or to one line that says what is wrong with them."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from nas.core.errors import InputError
from nas.core.problem import Problem
from nas.core.protocols import Searcher
from nas.core.registry import made, resolve
from nas.search.objectives import check_objectives
from nas.search.registry import SEARCHERS

Option = str | int | float | bool

_OPTUNA = "optuna:"
_PLAIN = (bool, int, float, str)
_GIVEN = ("problem", "budget", "seed")  # by this module, never by an option


def make_searcher(name: str, problem: Problem, *, budget: int | None = None,
                  options: Mapping[str, Option] | None = None) -> Searcher:
    """Returns a fresh searcher.

    Args:
        name: A registered name; ``module:attribute``, called as ``(problem, *, budget, …)``; or
            ``optuna:module:Class``, any sampler of Optuna's, such as
            ``optuna:optuna.samplers:TPESampler``.
        problem: What to search.
        budget: Number of full validations planned; None: unknown.
        options: Of the searcher, or of the sampler's constructor, by name. A sampler that takes a
            seed is given one of the problem's unless ``seed`` is among them.

    Raises:
        UnknownNameError: No such searcher.
        InputError: An option that the searcher does not take, or of another type; more objectives
            than it can do; or it cannot be made.
    """
    options = dict(options or {})
    if name.startswith(_OPTUNA):
        return _of_sampler(name, problem, options)
    entry = SEARCHERS.get(name)
    factory = entry.resolve()
    check_options(name, factory, options)
    if not entry.info.get("multi_objective", True):
        check_objectives(name, problem)
    searcher: Searcher = made("searcher", name, ("ask", "tell", "counts"),
                              lambda: factory(problem, budget=budget, **options))
    return searcher


def _of_sampler(name: str, problem: Problem, options: dict[str, Option]) -> Searcher:
    sampler_type = resolve(name.removeprefix(_OPTUNA))
    check_options(name, sampler_type, options, given=())
    # Optuna takes a second to import: only here.
    from nas.search.optuna_searcher import OptunaSearcher, sampler_seed

    if "seed" in _parameters(sampler_type):
        options = {"seed": sampler_seed(problem), **options}

    def sampler() -> Any:
        return made("Optuna sampler", name, ("sample_relative", "sample_independent"),
                    lambda: sampler_type(**options))

    return OptunaSearcher(problem, sampler, name=name)


def check_options(name: str, factory: Callable[..., Any], options: Mapping[str, Option], *,
                  given: tuple[str, ...] = _GIVEN) -> None:
    """Checks options against a factory's signature.

    Only parameters that an option can express are taken: strings, numbers and truth values.

    Raises:
        InputError: An option that there is not, or of another type.
    """
    known = {option: kinds for option, kinds in taken_options(factory).items()
             if option not in given}
    for option, value in options.items():
        if option not in known:
            listed = ", ".join(f"{other} ({_named(kinds)})" for other, kinds in known.items())
            raise InputError(f"searcher {name!r} has no option {option!r}; it takes "
                             f"{listed or 'none'}")
        kinds = known[option]
        if not any(type(value) is kind or (kind is float and type(value) is int)
                   for kind in kinds):
            raise InputError(f"searcher {name!r}: option {option!r} is {_named(kinds)}, not "
                             f"{value!r}")


def taken_options(factory: Callable[..., Any]) -> dict[str, tuple[type, ...]]:
    """Returns the options of a factory and the plain types that each may have."""
    found: dict[str, tuple[type, ...]] = {}
    parameters = _parameters(factory)
    hints = _hints(factory)
    for name, parameter in parameters.items():
        kinds = _plain_types(hints.get(name, parameter.annotation))
        if kinds and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            found[name] = kinds
    return found


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError) as error:
        raise InputError(f"{factory!r} cannot be called as a searcher ({error}); "
                         "see nas.core.protocols") from None


def _hints(factory: Callable[..., Any]) -> Mapping[str, Any]:
    # Names that are there for type checkers only cannot be resolved: then the text is all there is.
    target = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return typing.get_type_hints(target)
    except Exception:  # whatever a third party's annotations raise
        return {}


def _plain_types(annotation: Any) -> tuple[type, ...]:
    if isinstance(annotation, str):
        words = {word.strip() for word in annotation.split("|")}
        return tuple(kind for kind in _PLAIN if kind.__name__ in words)
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    members = typing.get_args(annotation) if is_union else (annotation,)
    return tuple(kind for kind in _PLAIN if kind in members)


def _named(kinds: tuple[type, ...]) -> str:
    words = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
    return " or ".join(words[kind] for kind in kinds)

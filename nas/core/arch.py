"""An architecture as a plain value: frozen, hashable, one JSON text each."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.core.errors import ArchError

if TYPE_CHECKING:
    from nas.core.space import SearchSpace

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Arch:
    """A genotype: all that searchers, ledgers and predictors see of a network.

    Attributes:
        space_id: The versioned id of its space, such as ``"mobilenet/1"``.
        choices: Pairs (gene, value), in the order of the space's genes.
    """

    space_id: str
    choices: tuple[tuple[str, Value], ...]

    @property
    def digest(self) -> str:
        """The first 12 hex digits of the SHA-256 of the canonical JSON text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Value]:
        """Returns the choices as a dictionary, in gene order."""
        return dict(self.choices)

    def to_json(self) -> str:
        """Returns the one JSON text of this value: no spaces, genes in the space's order."""
        payload = {"space": self.space_id, "choices": self.as_dict()}
        return json.dumps(payload, separators=(",", ":"), ensure_ascii=True)

    @staticmethod
    def from_json(text: str, *, space: "SearchSpace") -> "Arch":
        """Reads what `to_json` wrote.

        Raises:
            ArchError: The text is no JSON object of this form, is of another space, or has a
                gene or value (or value type) that the space does not have.
        """
        try:
            payload = json.loads(text, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            raise ArchError(f"architecture is not valid JSON: {error}") from None
        if not isinstance(payload, dict) or set(payload) != {"space", "choices"}:
            raise ArchError('architecture JSON needs exactly the keys "space" and "choices"')
        if payload["space"] != space.id:
            raise ArchError(f"architecture is of space {payload['space']!r}, not {space.id!r}")
        if not isinstance(payload["choices"], dict):
            raise ArchError('architecture JSON: "choices" must be an object of gene: value')
        return make_arch(space, payload["choices"])


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # JSON lets a key come twice and the last one win; here that would hide a mistake.
    payload = dict(pairs)
    if len(payload) < len(pairs):
        raise ValueError("a key comes twice")
    return payload


def make_arch(space: "SearchSpace", choices: Mapping[str, Any]) -> Arch:
    """Returns the canonical architecture with these choices.

    Raises:
        ArchError: A gene is missing or unknown, or its value is not among the gene's choices;
            ``4`` and ``4.0`` are different values, and so are ``1`` and ``True``.
    """
    genes = {gene.name: gene for gene in space.genes}
    unknown = sorted(set(choices) - set(genes))
    if unknown:
        raise ArchError(f"space {space.id} has no gene {unknown[0]!r}; see its genes with "
                        "`nas list supernets --json`")
    missing = [name for name in genes if name not in choices]
    if missing:
        raise ArchError(f"gene {missing[0]!r} of space {space.id} is missing")
    for name, gene in genes.items():
        value = choices[name]
        if not any(type(value) is type(choice) and value == choice for choice in gene.choices):
            raise ArchError(f"gene {name!r} takes one of {list(gene.choices)}, not {value!r}")
    return space.canonical(Arch(space.id, tuple((name, choices[name]) for name in genes)))

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from space_strategies import SEEDS, spaces

from nas.core.arch import Arch, make_arch
from nas.core.errors import ArchError
from nas.core.space import Condition, Gene, GeneSpace

SPACE = GeneSpace("tiny/1", (
    Gene("depth", (1, 2)),
    Gene("kernel", (3, 5, 7)),
    Gene("ratio", (0.25, 4.0)),
    Gene("act", ("relu", "silu"), Condition("depth", (2,))),
))
CHOICES = {"depth": 2, "kernel": 5, "ratio": 4.0, "act": "silu"}


def text_of(space: str = "tiny/1", **changes: object) -> str:
    return json.dumps({"space": space, "choices": {**CHOICES, **changes}})


@given(space=spaces(), seed=SEEDS)
@settings(deadline=None)
def test_json_round_trip(space: GeneSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    again = Arch.from_json(arch.to_json(), space=space)
    assert again == arch
    assert again.to_json() == arch.to_json()
    assert again.digest == arch.digest
    assert [type(value) for _, value in again.choices] == [type(v) for _, v in arch.choices]


@given(space=spaces(), seed=SEEDS, data=st.data())
@settings(deadline=None)
def test_json_of_another_value_or_gene_is_refused_in_one_line(
        space: GeneSpace, seed: int, data: st.DataObject) -> None:
    choices: dict[str, object] = dict(space.sample(np.random.default_rng(seed)).as_dict())
    gene = data.draw(st.sampled_from(space.genes))
    odd = data.draw(st.none() | st.booleans() | st.integers() | st.floats() | st.text())
    if not any(type(odd) is type(choice) and odd == choice for choice in gene.choices):
        with pytest.raises(ArchError) as caught:
            Arch.from_json(json.dumps({"space": space.id, "choices": {**choices, gene.name: odd}}),
                           space=space)
        assert len(str(caught.value).splitlines()) == 1
    del choices[gene.name]
    with pytest.raises(ArchError, match="missing"):
        Arch.from_json(json.dumps({"space": space.id, "choices": choices}), space=space)


@given(text=st.text())
def test_any_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ArchError) as caught:
        Arch.from_json(text, space=SPACE)
    assert len(str(caught.value).splitlines()) == 1


def test_json_text_and_digest_never_change() -> None:
    arch = make_arch(SPACE, CHOICES)
    assert arch.to_json() == ('{"space":"tiny/1","choices":{"depth":2,"kernel":5,"ratio":4.0,'
                              '"act":"silu"}}')
    assert arch.digest == "22d1c9c49965"


def test_the_order_and_spacing_of_the_text_do_not_matter() -> None:
    shuffled = {"choices": dict(reversed(CHOICES.items())), "space": "tiny/1"}
    assert Arch.from_json(json.dumps(shuffled, indent=2), space=SPACE) == make_arch(SPACE, CHOICES)


def test_one_network_has_one_encoding() -> None:
    dead = [make_arch(SPACE, {**CHOICES, "depth": 1, "act": act}) for act in ("relu", "silu")]
    assert dead[0] == dead[1]
    assert dead[0].as_dict()["act"] == "relu"


@pytest.mark.parametrize(("text", "message"), [
    ("{", "not valid JSON"),
    ("[" * 100_000, "not valid JSON"),
    ('{"space": "tiny/1", "space": "tiny/1", "choices": {}}', "twice"),
    ('{"space": "tiny/1", "choices": {"depth": 1, "depth": 2}}', "twice"),
    ("[]", "exactly the keys"),
    ('{"space": "tiny/1"}', "exactly the keys"),
    ('{"space": "tiny/1", "choices": {}, "note": 1}', "exactly the keys"),
    ('{"space": "tiny/1", "choices": []}', "must be an object"),
    ('{"space": "tiny/1", "choices": {}}', "'depth' of space tiny/1 is missing"),
    (text_of(space="tiny/2"), "is of space 'tiny/2'"),
    (text_of(width=8), "no gene 'width'"),
    (text_of(kernel=4), "'kernel' takes one of"),
    (text_of(kernel=5.0), "not 5.0"),
    (text_of(depth=True), "not True"),
    (text_of(kernel="5"), "not '5'"),
    (text_of(ratio=4), "not 4"),
    (text_of(kernel=[5]), r"not \[5\]"),
    (text_of(kernel=None), "not None"),
    (text_of(ratio=float("nan")), "not nan"),
])
def test_rejects_what_is_no_architecture(text: str, message: str) -> None:
    with pytest.raises(ArchError, match=message) as caught:
        Arch.from_json(text, space=SPACE)
    assert "\n" not in str(caught.value)


def test_dead_genes_are_checked_too() -> None:
    with pytest.raises(ArchError, match="'act' takes one of"):
        make_arch(SPACE, {**CHOICES, "depth": 1, "act": "gelu"})


def test_values_of_other_types_are_no_choices_though_they_compare_equal() -> None:
    as_float = Arch("tiny/1", (("depth", 2.0), ("kernel", 5), ("ratio", 4.0), ("act", "silu")))
    assert as_float == make_arch(SPACE, CHOICES)
    assert as_float.digest != make_arch(SPACE, CHOICES).digest
    with pytest.raises(ArchError, match=r"not 2\.0"):
        SPACE.encode([as_float])

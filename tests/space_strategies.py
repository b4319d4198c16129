"""Random search spaces for hypothesis: nested conditions, genes of every type, odd names."""

from hypothesis import strategies as st

from nas.core.space import Condition, Gene, GeneSpace

SEEDS = st.integers(0, 2**32)
MOST_CHOICES = 3  # with five genes small enough to count by hand

CHOICES = st.one_of(*(
    st.lists(values, min_size=1, max_size=MOST_CHOICES, unique=True).map(tuple)
    for values in (st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())))
PLAIN_CHOICES = st.sampled_from([(1,), (3, 5), (3, 5, 7), (0.5, 1.0), ("a", "b", "c")])


@st.composite
def spaces(draw: st.DrawFn, *, most_genes: int = 5) -> GeneSpace:
    """Any gene may hang on any earlier one, so that conditions nest and fan out.

    Plain choices repeat, so that genes are alike now and then; the others are of any value.
    """
    names = draw(st.lists(st.text(min_size=1), min_size=1, max_size=most_genes, unique=True))
    genes: list[Gene] = []
    for name in names:
        condition = None
        if genes and draw(st.booleans()):
            parent = draw(st.sampled_from(genes))
            values = draw(st.lists(st.sampled_from(parent.choices), min_size=1, unique=True))
            condition = Condition(parent.name, tuple(values))
        genes.append(Gene(name, draw(st.one_of(PLAIN_CHOICES, CHOICES)), condition))
    return GeneSpace("random/1", tuple(genes))

from pathlib import Path

import numpy as np
import pytest

from nas.core.arch import Arch
from nas.core.errors import ArchError, DataError, EvaluationError, InputError
from supernets.nasbench201.costs import flops, macs, params
from supernets.nasbench201.space import SPACE
from supernets.nasbench201.table import TabularEvaluator, TabularLatency
from supernets.nasbench201.table_file import Table, read_table
from supernets.nasbench201.text import codes_of_ops, from_ops

PUBLISHED = (Path(__file__).parents[3].parent / "shared" / "data" / "nas_benchmarks"
             / "nasbench201_cifar10.csv")
HEADER = "index,ops,accuracy,ms"
ROWS = ("0,421211,85.5,17.25", "1,334131,93.5,24.5", "2,000000,10,8")


def write(folder: Path, *lines: str) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return read_table(write(tmp_path, HEADER, *ROWS), complete=False)


@pytest.fixture(scope="session")
def published() -> Table:
    if not PUBLISHED.is_file():
        pytest.skip(f"{PUBLISHED.name} lies outside the repository")
    return read_table(PUBLISHED)


def test_rows_stand_in_the_order_of_their_codes(table: Table) -> None:
    assert table.codes.tolist() == [[0] * 6, [3, 3, 4, 1, 3, 1], [4, 2, 1, 2, 1, 1]]
    assert table.column("accuracy").tolist() == [10, 93.5, 85.5]
    assert table.rows(table.codes).tolist() == [0, 1, 2]


def test_evaluator_returns_what_the_row_says(table: Table) -> None:
    evaluate = TabularEvaluator(table, error="accuracy", latency="ms")
    code = codes_of_ops("421211")[None]
    assert evaluate(from_ops("421211")) == {
        "error": 14.5, "latency_ms": 17.25, "params": params(code)[0], "macs": macs(code)[0],
        "flops": flops(code)[0]}


def test_objectives_are_the_evaluators_metrics_row_by_row(table: Table) -> None:
    evaluate = TabularEvaluator(table, error="accuracy", latency="ms")
    names = ("latency_ms", "error", "macs")
    expected = [[evaluate(arch)[name] for name in names] for arch in SPACE.decode(table.codes)]
    assert evaluate.objectives(names).tolist() == expected


def test_latency_model_is_the_column(table: Table) -> None:
    model = TabularLatency(table, "ms")
    codes = np.stack([codes_of_ops(ops) for ops in ("421211", "000000", "421211")])
    estimate = model.predict("latency_ms", codes)
    assert estimate.value.tolist() == [17.25, 8, 17.25]
    assert (estimate.lower == estimate.value).all()
    assert (estimate.upper == estimate.value).all()
    assert estimate.kind == "measured"
    assert model.metrics == {"latency_ms": "ms"}
    assert model.block_table("latency_ms") is None


def test_architecture_that_the_table_lacks_is_an_error(table: Table) -> None:
    with pytest.raises(EvaluationError, match="has no architecture 333333"):
        TabularEvaluator(table, error="accuracy", latency="ms")(from_ops("333333"))
    with pytest.raises(EvaluationError, match="has no architecture 333333"):
        TabularLatency(table, "ms").predict(
            "latency_ms", np.stack([codes_of_ops(ops) for ops in ("000000", "333333")]))


def test_architecture_of_another_space_is_an_error(table: Table) -> None:
    with pytest.raises(ArchError, match="of space 'other/1'"):
        TabularEvaluator(table, error="accuracy", latency="ms")(
            Arch("other/1", from_ops("421211").choices))


def test_unknown_names_are_errors_that_list_the_known_ones(table: Table) -> None:
    with pytest.raises(InputError, match="no column 'seconds'; it has index, accuracy, ms"):
        TabularLatency(table, "seconds")
    with pytest.raises(InputError, match="no column 'cifar10_test_acc_200ep'"):
        TabularEvaluator(table)
    with pytest.raises(InputError, match="no metric 'ms'; known: error, latency_ms"):
        TabularEvaluator(table, error="accuracy", latency="ms").objectives(["ms"])
    with pytest.raises(InputError, match="knows latency_ms, not 'macs'"):
        TabularLatency(table, "ms").predict("macs", table.codes)


@pytest.mark.parametrize(("lines", "message"), [
    (("",), "has no column 'ops'.* it has nothing"),
    (("arch,ms", "421211,3"), "has no column 'ops'.* it has arch, ms"),
    (("ops,ms,ms", "421211,3,3"), "two columns of one name"),
    ((HEADER,), "has no rows"),
    ((HEADER, "0,42121,85,17"), "line 2: '42121' is no NAS-Bench-201 cell"),
    ((HEADER, ROWS[0], "1,421215,85,17"), "line 3: '421215' is no NAS-Bench-201 cell"),
    ((HEADER, "0,421211,85,fast"), "line 2: column 'ms' has 'fast' where a number"),
    ((HEADER, "0,421211,85,"), "line 2: column 'ms' has '' where a number"),
    ((HEADER, "0,421211,85"), "line 2: column 'ms' has None where a number"),
    ((HEADER, "0,421211,85,17,3"), "line 2: more fields than"),
    ((HEADER, "0,421211,nan,17"), "line 2: column 'accuracy' is nan"),
    ((HEADER, "0,421211,85,inf"), "line 2: column 'ms' is inf"),
    ((HEADER, *ROWS, "3,334131,93,24"), "line 5: architecture 334131 is there twice"),
])
def test_malformed_file_is_an_error_that_names_the_place(
        tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path, *lines), complete=False)


def test_missing_rows_are_an_error_unless_allowed(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *ROWS)
    for read in (read_table, TabularEvaluator, TabularLatency):
        with pytest.raises(DataError, match="has 3 rows and not the 15625"):
            read(path)


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"ops,ms\n\xff\xfe\n")
    for path in (tmp_path / "nowhere.csv", tmp_path, binary):
        with pytest.raises(DataError, match="cannot be read as a CSV table"):
            read_table(path)


def test_published_table_is_complete(published: Table) -> None:
    evaluate = TabularEvaluator(published)
    values = evaluate.objectives(("error", "latency_ms"))
    assert values.shape == (15_625, 2)
    assert (SPACE.encode(SPACE.decode(published.codes)) == published.codes).all()
    best = SPACE.decode(published.codes[values[:, 0].argmin()][None])[0]
    assert 100 - evaluate(best)["error"] == pytest.approx(94.37, abs=0.005)
    assert evaluate(from_ops("421211"))["latency_ms"] == 17.255


def test_published_latencies_are_known_for_all(published: Table) -> None:
    for column in ("ms_gtx1080ti_b256", "ms_xeon_gold_6226", "ms_raspi4", "ms_pixel2"):
        estimate = TabularLatency(published, column).predict("latency_ms", published.codes)
        assert (estimate.value == published.column(column)).all()

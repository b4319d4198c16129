"""Ranking networks by zero-cost scores: against validation, labels, nothing; bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nas.core.errors import InputError, UnknownNameError
from nas.pipeline.rank import Ranking, RankRequest, rank

Rank = Callable[..., Ranking]


@pytest.fixture
def ranked(tiny_folder: Path, tmp_path: Path) -> Rank:
    def run(**options: Any) -> Ranking:
        return rank(RankRequest(**{"supernet": str(tiny_folder), "n": 12, "batch": 16,
                                   "proxies": ("params", "synflow"), "out": tmp_path / "rank",
                                   **options}))

    return run


def rows(folder: Path) -> list[list[Any]]:
    return [json.loads(line) for line in (folder / "found.jsonl").read_text().splitlines()]


def test_correlations_are_those_of_what_was_found(ranked: Rank, tmp_path: Path) -> None:
    found = ranked(against="validation")
    columns: dict[str, list[float]] = {}
    for _, column, value, _, _ in rows(tmp_path / "rank"):
        columns.setdefault(column, []).append(value)
    assert len(columns["truth"]) == 12
    for row in found.payload["proxies"]:
        expected = stats.spearmanr(columns[row["name"]], columns["truth"]).statistic
        assert row["spearman"] == pytest.approx(expected)
        assert row["ci95"][0] <= row["spearman"] <= row["ci95"][1]
        assert row["kendall"] == pytest.approx(
            stats.kendalltau(columns[row["name"]], columns["truth"]).statistic)
        assert row["seconds_per_arch"] > 0
    assert found.picture is not None
    assert found.picture.read_bytes().startswith(b"\x89PNG")


def test_the_same_command_goes_on_and_computes_nothing_twice(ranked: Rank, tmp_path: Path) -> None:
    first = ranked(against="validation").payload
    whole = rows(tmp_path / "rank")
    path = tmp_path / "rank" / "found.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:7]) + lines[7][:9])  # killed in the middle of a line
    again = ranked(against="validation").payload
    assert [row[:3] for row in rows(tmp_path / "rank")] == [row[:3] for row in whole]
    assert rows(tmp_path / "rank")[:7] == whole[:7]
    for before, after in zip(first["proxies"], again["proxies"], strict=True):
        assert before["spearman"] == after["spearman"]


def test_without_a_truth_networks_are_ordered_by_mean_rank(ranked: Rank) -> None:
    payload = ranked().payload
    assert payload["picture"] is None
    assert all(row["spearman"] is None for row in payload["proxies"])
    best = payload["best"]
    assert len(best) == 10
    assert best[0]["arch"]
    totals = np.array([[point["scores"][name] for name in ("params", "synflow")]
                       for point in best])
    assert totals[0].sum() > totals[-1].sum()


def test_labels_come_from_a_file(ranked: Rank, tmp_path: Path) -> None:
    digests = [point["network"] for point in ranked(n=10, out=tmp_path / "plain").payload["best"]]
    assert len(digests) == 10
    labels = tmp_path / "labels.csv"
    labels.write_text("digest,value\n" + "".join(
        f"{digest},{10 - place}\n" for place, digest in enumerate(digests)))
    payload = ranked(n=10, against=str(labels)).payload
    assert payload["proxies"][0]["spearman"] > 0.5  # the labels are the order that both gave
    labels.write_text("digest,value\n" + f"{digests[0]},1\n")
    with pytest.raises(InputError, match="9"):
        ranked(n=10, against=str(labels), out=tmp_path / "another")


def test_plain_models_are_ranked_and_what_lacks_something_is_named(
        ranked: Rank, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    names = ("timm:test_resnet", "timm:test_vit", "timm:test_convnext")
    labels.write_text("digest,value\n" + "".join(f"{name},{i}\n" for i, name in enumerate(names)))
    payload = ranked(models=names, against=str(labels), proxies=("params", "grad_norm"),
                     batch=2).payload
    assert payload["weights"] is None
    assert {row["unscored"] for row in payload["proxies"]} == {0}


@pytest.mark.parametrize(("options", "error"), [
    ({"proxies": ("params", "gradsing")}, "did you mean gradsign"),
    ({"proxies": ()}, "name at least one"),
    ({"n": 10_000_000}, "has only"),
    ({"models": ("timm:resnet_18",)}, "did you mean resnet18"),
    ({"models": ("resnet18",)}, "give it as timm:NAME"),
    ({"models": ("timm:test_vit",), "against": "validation"}, "come without data"),
    ({"batch": 100_000}, "train_calib has only"),
])
def test_bad_input_is_one_line(ranked: Rank, options: dict[str, Any], error: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=error) as caught:
        ranked(**options)
    assert "\n" not in str(caught.value)


def test_a_folder_of_another_ranking_is_not_mixed_up(ranked: Rank, tmp_path: Path) -> None:
    ranked()
    with pytest.raises(InputError, match="holds a ranking with other options"):
        ranked(seed=1)
    (tmp_path / "rank" / "found.jsonl").write_text('["a", "b"]\n')
    with pytest.raises(InputError, match="line 1 is damaged"):
        ranked()

"""Shipped estimates: what lies in their files, what they say of a space, and that both repeat."""

import json
from pathlib import Path

import numpy as np
import pytest

from hardware_profiles.estimate import DeviceEstimate, find_estimate, shipped_estimates
from hardware_profiles.estimate_fit import (
    Form,
    bounds,
    fit_rows,
    fit_tasks,
    predict_left_out,
    term_matrix,
)
from hardware_profiles.estimated import estimated_profile
from hardware_profiles.features import graph_features
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.profile_file import read_profile, write_profile
from hardware_profiles.registry import DEVICES
from hardware_profiles.table import LatencyTable
from nas.core.blocks import chain
from nas.core.costs import macs
from nas.core.errors import ProfileError
from nas.core.vocabulary import Vocabulary
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import MobileNetConfig, StageConfig, build_space

DOCS = Path(__file__).parents[2] / "docs"
REPORT = json.loads((DOCS / "benchmarks" / "jetson.json").read_text())["figures"]
BOARDS = tuple(shipped_estimates())
JETSONS = tuple(name for name in BOARDS if name.startswith("jetson"))

every_board = pytest.mark.parametrize("board", BOARDS)


@pytest.fixture(scope="module")
def large_config() -> MobileNetConfig:
    """A space at 224 px whose every network is about the size of the fitted ones."""
    return MobileNetConfig(
        name="large/1", input_shape=(3, 224, 224), num_classes=1000, stem_width=32,
        head_width=1280, stages=(
            StageConfig(widths=(32,), depths=(2,), kernels=(3, 5), expansions=(4,), stride=2),
            StageConfig(widths=(64,), depths=(3,), kernels=(3, 5), expansions=(4,), stride=2),
            StageConfig(widths=(160,), depths=(4,), kernels=(3, 5), expansions=(6,), stride=2,
                        se_ratio=0.25)))


def profile_of(board: str, config: MobileNetConfig) -> tuple[HardwareProfile, Vocabulary]:
    space = build_space(config)
    vocabulary = build_vocabulary(config, space)
    return estimated_profile(find_estimate(board), space, vocabulary.blocks,
                             vocabulary.block_ids), vocabulary


class TestFiles:
    def test_the_boards_of_the_issue_are_there(self):
        assert {"jetson-nano", "jetson-xavier-nx", "jetson-orin-nano", "jetson-agx-orin"} <= set(
            BOARDS)

    def test_a_board_is_found_by_its_id_and_its_aliases(self):
        assert find_estimate("jetson").id == "jetson-orin-nano"
        for one in shipped_estimates().values():
            assert all(find_estimate(name) is one for name in (one.id, *one.aliases))
        names = [name for one in shipped_estimates().values() for name in (one.id, *one.aliases)]
        assert len(set(names)) == len(names)

    def test_a_board_without_data_is_an_error_that_names_the_nearest(self):
        with pytest.raises(ProfileError, match=r"no estimate is shipped.*'jetson-orin-nx'.*jetson"):
            find_estimate("jetson-orin-nx")

    @every_board
    def test_every_row_names_its_source_and_condition(self, board: str):
        one = find_estimate(board)
        assert {row.source for row in one.rows} == set(one.sources)
        assert all(source.licence in ("Apache-2.0", "MIT") for source in one.sources.values())
        assert len({row.source for row in one.rows if row.use == "fit"}) == 1
        assert not any(source.io_included for source in one.sources.values())

    @every_board
    def test_stated_ranges_are_those_of_the_rows(self, board: str):
        one = find_estimate(board)
        rows = [row for row in one.rows if row.use == "fit"]
        total = [sum(v for k, v in row.features.items() if k.startswith("macs:")) for row in rows]
        assert one.macs == (min(total), max(total))
        assert one.input_px == (min(r.input_px for r in rows), max(r.input_px for r in rows))
        for term in one.terms.values():
            sums = [sum(row.features.get(name, 0.0) for name in term.features) for row in rows]
            assert term.fitted == (min(sums), max(sums))

    def test_fitting_the_shipped_rows_again_gives_the_shipped_coefficients(self):
        form = shipped_form()
        found = fit_tasks(shipped_rows(), form)
        for one in shipped_estimates().values():
            assert one.shrinkage == form.shrinkage
            assert {k: t.features for k, t in one.terms.items()} == dict(form.terms)
            source = next(row.source for row in one.rows if row.use == "fit")
            np.testing.assert_allclose([term.ms for term in one.terms.values()],
                                       found[f"{one.id}/{source}"], rtol=1e-3)

    def test_the_registry_says_what_the_files_say(self):
        listed = {entry.name: entry.info for entry in DEVICES.builtin if entry.name != "host"}
        assert set(listed) == {*BOARDS, "jetson"}
        for name, info in listed.items():
            runtime = find_estimate(name).runtime
            assert (info["kind"], info["runtime"], info["provider"], info["precision"],
                    info["threads"]) == ("estimated", runtime.name, runtime.provider,
                                         runtime.precision, runtime.threads)


class TestQuality:
    @pytest.mark.parametrize("board", JETSONS)
    def test_a_model_left_out_meets_the_targets(self, board: str):
        one = find_estimate(board)
        assert one.held_out.spearman >= 0.95
        assert one.held_out.mape <= 0.12
        assert one.coverage >= 0.90
        assert one.macs_only.spearman < 0.5

    @every_board
    def test_stated_errors_are_those_of_the_recorded_predictions(self, board: str):
        one, nets = find_estimate(board), REPORT["boards"][board]["networks"]
        rows = [row for row in one.rows if row.use == "fit"]
        assert [net["measured_ms"] for net in nets] == [row.latency_ms for row in rows]
        ms = np.array([row.latency_ms for row in rows])
        for key, stated in (("model_left_out_ms", one.held_out),
                            ("family_left_out_ms", one.held_out_family)):
            predicted = np.array([net[key] for net in nets])
            assert np.abs(predicted / ms - 1).mean() == pytest.approx(stated.mape)
            assert bounds(ms / predicted)[1] <= one.upper_ratio
            assert bounds(ms / predicted)[0] >= one.lower_ratio

    def test_leaving_models_out_of_the_shipped_form_is_as_good_as_stated(self):
        rows = shipped_rows()
        scored = [row for row in rows if row.scored]
        predicted = predict_left_out(rows, shipped_form(), [row.model for row in rows])
        errors = np.abs(predicted / [row.latency_ms for row in scored] - 1)
        for board in JETSONS:
            mask = np.array([row.task.startswith(f"{board}/") for row in scored])
            assert errors[mask].mean() <= 0.12

    def test_the_documentation_shows_the_recorded_figures(self):
        page = (DOCS / "devices.md").read_text()
        for board, figures in REPORT["boards"].items():
            row = next(line for line in page.splitlines() if line.startswith(f"| {board} |"))
            model, family = figures["leave_one_model_out"], figures["leave_one_family_out"]
            for text in (f"{model['spearman']:.3f}", f"{model['mape']:.1%}",
                         f"{family['mape']:.1%}", f"{figures['upper_ratio']:.2f}",
                         f"{figures['macs_only']['spearman']:.2f}"):
                assert text in row
        assert set(REPORT["boards"]) == set(BOARDS)


class TestFit:
    def test_exact_sums_are_found_back(self):
        form = Form(name="two", terms={"a": ("macs:conv",), "b": ("elems:conv", "elems:dw")},
                    shrinkage=1e-4)
        rows = fit_rows("x", find_estimate("jetson-nano").rows)
        true = np.array([2e-9, 5e-8])
        exact = [type(row)(task=row.task, model=row.model, family=row.family, scored=True,
                           features=row.features, latency_ms=float(y))
                 for row, y in zip(rows, term_matrix(rows, form) @ true, strict=True)]
        for coefficients in fit_tasks(exact, form).values():
            np.testing.assert_allclose(coefficients, true, rtol=1e-3)

    def test_no_row_of_a_group_reaches_its_own_prediction(self):
        form, rows = shipped_form(), shipped_rows()
        groups = [row.model for row in rows]
        changed = [row if row.model != "resnet18" else
                   type(row)(task=row.task, model=row.model, family=row.family, scored=row.scored,
                             features=row.features, latency_ms=7 * row.latency_ms) for row in rows]
        a, b = (predict_left_out(one, form, groups) for one in (rows, changed))
        left = np.array([row.model == "resnet18" for row in rows if row.scored])
        np.testing.assert_array_equal(a[left], b[left])
        assert not np.array_equal(a[~left], b[~left])

    def test_a_term_that_no_row_has_is_an_error(self):
        form = Form(name="odd", terms={"a": ("macs:winograd",)}, shrinkage=0.1)
        with pytest.raises(ProfileError, match="no measured network has"):
            fit_tasks(shipped_rows(), form)

    def test_the_upper_bound_covers_nine_tenths_of_new_draws(self):
        rng = np.random.default_rng(0)
        inside = [rng.lognormal() <= bounds(rng.lognormal(size=19))[1] for _ in range(2000)]
        assert 0.87 <= np.mean(inside) <= 0.93


class TestProfile:
    def test_an_estimate_says_that_it_is_one(self, shipped_config):
        profile, _ = profile_of("jetson", shipped_config)
        assert (profile.kind, profile.statistic) == ("estimated", "published")
        assert profile.device.id == "jetson-orin-nano"
        assert profile.validity.warnings[0] == "estimated, not measured on the device"
        assert any("within one search space" in line for line in profile.validity.warnings)
        assert profile.calibration.held_out_by == "leave one model out"

    def test_what_lies_outside_the_fitted_range_is_listed(self, shipped_config):
        profile, _ = profile_of("jetson", shipped_config)
        lines = profile.validity.extrapolated
        assert "input 28 px (fitted at 224 px)" in lines
        assert any(line.startswith("MACs ") for line in lines)

    def test_a_space_inside_the_range_is_not_extrapolated(self, large_config):
        profile, _ = profile_of("jetson", large_config)
        assert profile.validity.extrapolated == ()

    @every_board
    def test_a_latency_is_the_sum_over_the_whole_networks_features(self, board, large_config):
        profile, vocabulary = profile_of(board, large_config)
        table = LatencyTable(profile, vocabulary.blocks, vocabulary.block_ids)
        codes = build_space(large_config).sample_codes(5, np.random.default_rng(0))
        found, one = table.predict("latency_ms", codes), find_estimate(board)
        for slots, value in zip(vocabulary.block_ids(codes), found.value, strict=True):
            graph = chain([vocabulary.blocks[i] for i in slots if i >= 0])
            features = graph_features(graph)
            assert value == pytest.approx(sum(one.coefficients[k] * v
                                              for k, v in features.items()))
            assert macs(graph) > 0
        assert found.kind == "estimated"
        np.testing.assert_allclose(found.upper, found.value * one.upper_ratio)
        np.testing.assert_allclose(found.lower, found.value * one.lower_ratio)

    def test_a_profile_survives_its_file(self, tmp_path, shipped_config):
        profile, _ = profile_of("jetson-nano", shipped_config)
        write_profile(profile, tmp_path / "x.json")
        assert read_profile(tmp_path / "x.json") == profile

    def test_a_kind_of_kernel_without_a_coefficient_is_refused(self, shipped_config):
        space = build_space(shipped_config)
        vocabulary = build_vocabulary(shipped_config, space)
        one = find_estimate("jetson")
        terms = {name: term.model_copy(update={"features": tuple(
            f for f in term.features if f != "kernels:dw")}) for name, term in one.terms.items()}
        poor = one.model_copy(update={"terms": terms})
        with pytest.raises(ProfileError, match="knows no kernels of kind dw"):
            estimated_profile(poor, space, vocabulary.blocks, vocabulary.block_ids)


def shipped_rows() -> list:
    return [row for one in shipped_estimates().values() for row in fit_rows(one.id, one.rows)]


def shipped_form() -> Form:
    one: DeviceEstimate = next(iter(shipped_estimates().values()))
    return Form(name="shipped", shrinkage=one.shrinkage,
                terms={name: term.features for name, term in one.terms.items()})

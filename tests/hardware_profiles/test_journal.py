import json
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from hardware_profiles.journal import open_journal
from hardware_profiles.pass_times import PassTimes
from hardware_profiles.profile import MeasureProtocol
from nas.core.errors import ProfileError

IDENTITY = {"device": "host-x", "version": "1.2.3", "seed": 0}
PROTOCOL = MeasureProtocol(runs=3, passes=2)


def one_pass(start: int) -> PassTimes:
    return PassTimes(np.array([start, start + 1]), np.array([start + 2, start + 3]), 9, 10, 2600.0)


class Stopped(Exception):
    pass


@contextmanager
def stopped(path, **options):
    """A journal whose measurement does not end."""
    with suppress(Stopped), open_journal(path, IDENTITY, **options) as journal:
        yield journal
        raise Stopped


@pytest.fixture
def path(tmp_path):
    """A journal that was stopped after two passes over one model and one over another."""
    path = tmp_path / "x.passes"
    with stopped(path) as journal:
        assert (journal.protocol, journal.passes, journal.notice) == (None, {}, None)
        journal.begin(PROTOCOL)
        for key, start in (("a", 1), ("b", 2), ("a", 3)):
            journal.add(key, one_pass(start))
    return path


def count(passes: dict[str, list[PassTimes]]) -> dict[str, int]:
    return {key: len(found) for key, found in passes.items()}


def test_what_was_measured_is_there_again(path):
    with open_journal(path, IDENTITY) as journal:
        assert (journal.protocol, journal.notice) == (PROTOCOL, None)
        assert count(journal.passes) == {"a": 2, "b": 1}
        again, wanted = journal.passes["a"][1], one_pass(3)
        np.testing.assert_array_equal(again.cpu_ns, wanted.cpu_ns)
        np.testing.assert_array_equal(again.wall_ns, wanted.wall_ns)
        assert (again.loop_cpu_ns, again.loop_wall_ns, again.clock_mhz) == (9, 10, 2600.0)
    assert not path.exists()  # ended well: nothing is left to go on with


def test_more_can_be_added_after_a_stop(path):
    with stopped(path) as journal:
        journal.add("b", one_pass(4))
    with open_journal(path, IDENTITY) as journal:
        assert count(journal.passes) == {"a": 2, "b": 2}


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_cut_off_by_a_kill_does_not_count(path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    with stopped(path) as journal:
        assert count(journal.passes) == {"a": 1, "b": 1}
        journal.add("c", one_pass(5))
    with open_journal(path, IDENTITY) as journal:
        assert count(journal.passes) == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize(("changed", "reason"), [
    ({"version": "1.2.4"}, "version was '1.2.3' and is '1.2.4'"),
    ({"seed": 1}, "seed was 0 and is 1"),
    ({"threads": 2}, "threads was None and is 2"),
])
def test_passes_of_something_else_are_thrown_away_with_the_reason(path, changed, reason):
    with open_journal(path, {**IDENTITY, **changed}) as journal:
        assert (journal.protocol, journal.passes) == (None, {})
        assert journal.notice == reason


def test_passes_from_before_the_machine_was_started_are_thrown_away(path):
    first, rest = path.read_text().split("\n", 1)
    identity = {**json.loads(first)["identity"], "boot": "another"}
    path.write_text(json.dumps({"identity": identity}) + "\n" + rest)
    with open_journal(path, IDENTITY) as journal:
        assert journal.passes == {}
        assert journal.notice == "the machine was started again since"


@pytest.mark.parametrize("line", ["nonsense", "[1]", "3", '{"key": "a"}', '{"protocol": 7}',
                                  '{"protocol": {"runs": 0}}'])
def test_a_damaged_journal_is_thrown_away_with_the_reason(path, line):
    lines = path.read_text().splitlines()
    lines[2] = line
    path.write_text("\n".join(lines) + "\n")
    with open_journal(path, IDENTITY) as journal:
        assert (journal.protocol, journal.passes) == (None, {})
        assert journal.notice == "line 3 is damaged"


def test_a_refused_measurement_is_taken_over_only_where_it_is_asked_for(path):
    with stopped(path) as journal:
        journal.refuse()
    with stopped(path, keep_refused=True) as journal:
        assert count(journal.passes) == {"a": 2, "b": 1}
    with open_journal(path, IDENTITY) as journal:
        assert journal.passes == {}
        assert journal.notice == "they were refused"


def test_two_at_once_are_refused(path):
    with open_journal(path, IDENTITY):
        with pytest.raises(ProfileError, match="another process is measuring"), \
                open_journal(path, IDENTITY):
            pass
        assert path.exists()

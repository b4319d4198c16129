import itertools

import pytest
from service_stores import Queue

from nas.service.store.jobs import LEASE_S, Job, JobStore, Lease, Order


def _claimed(queue: Queue, slot: int = 0) -> Lease:
    lease = queue.store.claim(slot)
    assert lease is not None
    return lease


def _beat(queue: Queue, lease: Lease, done: int = 0, total: int = 10, stage: str = "") -> Order:
    return queue.store.beat(lease, done=done, total=total, note="", ran_s=1.0, stage=stage)


def _job(queue: Queue, job: Job) -> Job:
    found = queue.store.get(job.id)
    assert found is not None
    return found


class TestClaiming:
    def test_the_oldest_comes_first(self, queue: Queue) -> None:
        jobs = [queue.submit() for _ in range(3)]

        assert [_claimed(queue, slot).job.id for slot in range(3)] == [job.id for job in jobs]
        assert queue.store.claim(3) is None

    def test_the_job_says_where_it_runs(self, queue: Queue) -> None:
        queue.submit()
        job = _claimed(queue, 3).job

        assert (job.state, job.slot, job.started) == ("running", 3, queue.clock.now)
        assert _job(queue, job) == job

    def test_it_is_not_claimed_again_while_it_is_reported_on(self, queue: Queue) -> None:
        queue.submit()
        lease = _claimed(queue)
        for _ in range(4):
            queue.clock.now += LEASE_S - 1
            assert queue.store.claim(1) is None
            assert _beat(queue, lease) is Order.GO_ON

    def test_it_is_when_no_report_came_in_time(self, queue: Queue) -> None:
        queue.submit()
        first = _claimed(queue)
        queue.clock.now += LEASE_S + 1
        newer = queue.submit()

        second = _claimed(queue, 1)

        assert second.job.id == first.job.id
        assert second.job.started == first.job.started
        assert _claimed(queue, 2).job.id == newer.id

    def test_not_if_it_was_to_be_cancelled(self, queue: Queue) -> None:
        job = queue.submit()
        _claimed(queue)
        queue.store.cancel(job.id)
        queue.clock.now += LEASE_S + 1

        assert queue.store.claim(1) is None
        assert _job(queue, job).state == "cancelled"


class TestFencing:
    @pytest.fixture
    def lost(self, queue: Queue) -> Lease:
        """A lease of a job that another worker has taken since."""
        queue.submit()
        lease = _claimed(queue)
        queue.clock.now += LEASE_S + 1
        _claimed(queue, 1)
        return lease

    def test_a_lost_lease_changes_nothing(self, queue: Queue, lost: Lease) -> None:
        before = _job(queue, lost.job)

        assert _beat(queue, lost, done=5) is Order.LOST
        assert not queue.store.end(lost, state="done", ran_s=1.0)
        queue.store.release(lost, ran_s=1.0)

        assert _job(queue, lost.job) == before

    def test_nor_does_one_of_a_job_that_has_ended(self, queue: Queue) -> None:
        job = queue.submit()
        lease = _claimed(queue)
        queue.store.end(lease, state="failed", ran_s=1.0)

        assert _beat(queue, lease) is Order.LOST
        assert not queue.store.end(lease, state="done", ran_s=1.0)
        assert _job(queue, job).state == "failed"

    def test_an_end_told_twice_is_one(self, queue: Queue) -> None:
        queue.submit()
        lease = _claimed(queue)

        assert queue.store.end(lease, state="done", ran_s=1.0)
        assert queue.store.end(lease, state="done", ran_s=1.0)


class TestReports:
    def test_they_show(self, queue: Queue) -> None:
        job = queue.submit()
        lease = _claimed(queue)
        queue.store.beat(lease, done=3, total=9, note="a \0 and \udc80", ran_s=4.5)

        job = _job(queue, job)
        assert (job.done, job.total, job.note, job.ran_s) == (3, 9, "a \0 and \udc80", 4.5)

    def test_they_are_answered_with_a_cancel(self, queue: Queue) -> None:
        job = queue.submit()
        lease = _claimed(queue)
        queue.store.cancel(job.id)

        assert _beat(queue, lease) is Order.CANCEL
        assert queue.store.end(lease, state="cancelled", ran_s=1.0)
        job = _job(queue, job)
        assert (job.state, job.stop_request, job.slot) == ("cancelled", None, None)

    def test_the_end_keeps_its_error(self, queue: Queue) -> None:
        job = queue.submit()
        error = {"code": "disk", "message": "\udc80: no space"}
        queue.store.end(_claimed(queue), state="failed", error=error, ran_s=7.0)

        job = _job(queue, job)
        assert (job.state, job.error, job.ran_s, job.ended) == (
            "failed", error, 7.0, queue.clock.now)

    def test_a_job_ends_in_an_end(self, queue: Queue) -> None:
        queue.submit()
        with pytest.raises(ValueError, match="queued"):
            queue.store.end(_claimed(queue), state="queued", ran_s=1.0)


class TestGivingBack:
    def test_a_released_job_keeps_its_place(self, queue: Queue) -> None:
        first, _ = queue.submit(), queue.submit()
        lease = _claimed(queue)
        queue.store.release(lease, ran_s=5.0)

        again = _claimed(queue)
        assert (again.job.id, again.job.ran_s) == (first.id, 5.0)
        assert again.token != lease.token

    def test_a_slot_reclaims_what_it_had(self, queue: Queue) -> None:
        mine, other = queue.submit(), queue.submit()
        _claimed(queue, 0)
        _claimed(queue, 1)
        queue.store.reclaim(0)

        assert (_job(queue, mine).state, _job(queue, mine).deaths) == ("queued", 0)
        assert _job(queue, other).state == "running"

    @pytest.mark.parametrize("how", ["release", "reclaim", "died"])
    def test_a_job_to_be_cancelled_is(self, queue: Queue, how: str) -> None:
        job = queue.submit()
        lease = _claimed(queue)
        queue.store.cancel(job.id)
        match how:
            case "release":
                queue.store.release(lease, ran_s=1.0)
            case "reclaim":
                queue.store.reclaim(0)
            case _:
                queue.store.died(0, limit=1)

        job = _job(queue, job)
        assert (job.state, job.ended, job.stop_request) == ("cancelled", queue.clock.now, None)


class TestDeaths:
    def test_at_the_third_the_job_has_failed(self, queue: Queue) -> None:
        job = queue.submit()
        for deaths in (1, 2):
            _claimed(queue)
            queue.store.died(0)
            assert (_job(queue, job).state, _job(queue, job).deaths) == ("queued", deaths)
        _claimed(queue)
        queue.store.died(0)

        job = _job(queue, job)
        assert (job.state, job.deaths, job.slot) == ("failed", 3, None)
        assert job.error is not None
        assert job.error["code"] == "worker_died"
        assert queue.store.resume(job.id).deaths == 0

    def test_one_that_gets_further_each_time_goes_on(self, queue: Queue) -> None:
        job = queue.submit()
        for done in range(1, 8):
            lease = _claimed(queue)
            for step in range(done + 1):
                _beat(queue, lease, done=step)
            queue.store.died(0)
            assert _job(queue, job).deaths == 1

    def test_one_that_always_comes_as_far_does_not(self, queue: Queue) -> None:
        job = queue.submit()
        for start in itertools.count():
            lease = _claimed(queue)
            for total, stages in ((100, 100), (10, 4)):  # measuring, then trials up to the fourth
                for done in range(0, stages + 1, 4):
                    _beat(queue, lease, done=done, total=total)
            queue.store.died(0)
            if _job(queue, job).state == "failed":
                break
            assert start < 3

    def test_a_later_stage_counts_from_the_start_again(self, queue: Queue) -> None:
        job = queue.submit()
        for done in range(1, 6):
            lease = _claimed(queue)
            _beat(queue, lease, done=100, total=100, stage="measure")
            _beat(queue, lease, done=done, total=100, stage="search")
            queue.store.died(0)

        assert _job(queue, job).state == "queued"

    def test_of_other_slots_it_knows_nothing(self, queue: Queue) -> None:
        job = queue.submit()
        _claimed(queue, 1)
        queue.store.died(0)

        assert _job(queue, job).state == "running"


def test_a_thousand_jobs_are_listed_in_pages(queue: Queue) -> None:
    store = JobStore(queue.database, max_queue=1000)
    for number in range(1000):
        store.submit(user=f"user{number % 3}", kind="search", config={"seed": number})
    seen, before = 0, None
    while jobs := store.page(user="user1", before=before):
        seen += len(jobs)
        before = jobs[-1].number

    assert seen == 333
    assert store.counts()["queued"] == 1000

import threading
from collections.abc import Callable

import pytest
from service_stores import Queue

from nas.core.errors import InputError
from nas.service.store.errors import KeyReused, NoJob, QueueFull, StateError
from nas.service.store.jobs import JobStore


def test_a_submitted_job_is_found_again(queue: Queue) -> None:
    config = {"budget": 4, "max_latency_ms": 1.5, "data": None, "note": "\0 \ud800 ü"}
    job = queue.store.submit(user="ann", kind="search", config=config)

    assert queue.store.get(job.id) == job
    assert (job.user, job.kind, job.state, job.config) == ("ann", "search", "queued", config)
    assert (job.created, job.started, job.ended, job.slot) == (queue.clock.now, None, None, None)


@pytest.mark.parametrize("job_id", ["", "0" * 16, "../../etc", "\0", "\ud800", "x" * 10_000])
def test_there_is_no_job_of_an_unknown_id(queue: Queue, job_id: str) -> None:
    assert queue.store.get(job_id) is None
    for change in (queue.store.cancel, queue.store.resume):
        with pytest.raises(NoJob):
            change(job_id)


def test_what_a_caller_changes_in_a_config_is_not_in_the_store(queue: Queue) -> None:
    job = queue.submit(budget=4)
    assert isinstance(job.config, dict)
    job.config["budget"] = 5

    again = queue.store.get(job.id)
    assert again is not None
    assert again.config == {"budget": 4}


class TestKeys:
    def test_the_same_key_gives_the_job_of_then(self, queue: Queue) -> None:
        def submit(**config: int) -> str:
            return queue.store.submit(user="ann", kind="search", config=config, key="k").id

        assert submit(budget=4, seed=1) == submit(seed=1, budget=4)
        assert len(queue.store.page(user=None)) == 1

    def test_it_does_so_when_the_queue_is_full(self, queue: Queue) -> None:
        store = JobStore(queue.database, max_queue=1)
        first = store.submit(user="ann", kind="search", config={}, key="k")

        assert store.submit(user="ann", kind="search", config={}, key="k") == first

    def test_each_user_has_keys_of_their_own(self, queue: Queue) -> None:
        jobs = [queue.store.submit(user=user, kind="search", config={}, key="k")
                for user in ("ann", "bob")]

        assert jobs[0].id != jobs[1].id

    @pytest.mark.parametrize(("kind", "budget"), [("search", 5), ("rank", 4)])
    def test_another_job_with_the_same_key_is_refused(self, queue: Queue, kind: str,
                                                      budget: int) -> None:
        queue.store.submit(user="ann", kind="search", config={"budget": 4}, key="k")

        with pytest.raises(KeyReused, match="take a new one"):
            queue.store.submit(user="ann", kind=kind, config={"budget": budget}, key="k")

    @pytest.mark.parametrize("key", ["", "a b", "ü", "\0", "x" * 256])
    def test_an_unusable_key_is_refused(self, queue: Queue, key: str) -> None:
        with pytest.raises(InputError, match="Idempotency-Key"):
            queue.store.submit(user="ann", kind="search", config={}, key=key)

    def test_one_of_many_submits_at_once_makes_the_job(self, queue: Queue) -> None:
        found: list[str] = []

        def submit() -> None:
            found.append(queue.store.submit(user="ann", kind="rank", config={}, key="k").id)

        _at_once(submit, 8)

        assert len(found) == 8
        assert len(set(found)) == 1


class TestTheBound:
    def test_a_full_queue_takes_no_more(self, queue: Queue) -> None:
        store = JobStore(queue.database, max_queue=2)
        for _ in range(2):
            store.submit(user="ann", kind="search", config={})

        with pytest.raises(QueueFull, match="2 jobs wait") as raised:
            store.submit(user="bob", kind="search", config={})
        assert raised.value.retry_after_s > 0
        store.claim(0)
        store.submit(user="bob", kind="search", config={})

    def test_a_resumed_job_needs_room_too(self, queue: Queue) -> None:
        store = JobStore(queue.database, max_queue=1)
        job = store.cancel(store.submit(user="ann", kind="search", config={}).id)
        store.submit(user="ann", kind="search", config={})

        with pytest.raises(QueueFull):
            store.resume(job.id)

    def test_many_at_once_do_not_pass_it(self, queue: Queue) -> None:
        store = JobStore(queue.database, max_queue=5)
        refused: list[QueueFull] = []

        def submit() -> None:
            for _ in range(3):
                try:
                    store.submit(user="ann", kind="search", config={})
                except QueueFull as error:
                    refused.append(error)

        _at_once(submit, 8)

        assert store.counts()["queued"] == 5
        assert len(refused) == 24 - 5


class TestPages:
    def test_the_newest_come_first_and_each_once(self, queue: Queue) -> None:
        ids = [queue.submit().id for _ in range(7)]
        found, before = [], None
        while jobs := queue.store.page(user=None, before=before, limit=3):
            assert len(jobs) <= 3
            found += [job.id for job in jobs]
            before = jobs[-1].number

        assert found == ids[::-1]

    def test_filters_hold_together(self, queue: Queue) -> None:
        mine = queue.submit("ann", "rank")
        for user, kind in (("ann", "search"), ("bob", "rank")):
            queue.submit(user, kind)
        queue.store.cancel(queue.submit("ann", "rank").id)

        assert queue.store.page(user="ann", kind="rank", state="queued") == [mine]
        assert len(queue.store.page(user="ann")) == 3
        assert len(queue.store.page(user=None, state="queued")) == 3

    @pytest.mark.parametrize("text", ["nobody", "\0", "\ud800", "' OR 1=1 --"])
    def test_nobody_has_no_jobs(self, queue: Queue, text: str) -> None:
        queue.submit()

        assert queue.store.page(user=text) == []
        assert queue.store.page(user=None, state=text) == []
        assert queue.store.page(user=None, kind=text) == []
        assert set(queue.store.counts(user=text).values()) == {0}

    @pytest.mark.parametrize(("before", "count"), [(10**30, 1), (-10**30, 0), (0, 0)])
    def test_numbers_beyond_the_database_are_understood(self, queue: Queue, before: int,
                                                        count: int) -> None:
        queue.submit()

        assert len(queue.store.page(user=None, before=before)) == count

    def test_counts_are_of_all_or_of_one(self, queue: Queue) -> None:
        for user in ("ann", "ann", "bob"):
            queue.submit(user)
        queue.store.claim(0)

        assert queue.store.counts() == {
            "queued": 2, "running": 1, "done": 0, "failed": 0, "cancelled": 0}
        assert queue.store.counts(user="ann")["queued"] == 1


class TestCancelling:
    def test_a_queued_job_is_cancelled_at_once(self, queue: Queue) -> None:
        job = queue.store.cancel(queue.submit().id)

        assert (job.state, job.ended) == ("cancelled", queue.clock.now)
        assert queue.store.claim(0) is None

    def test_a_running_one_is_asked_to_stop(self, queue: Queue) -> None:
        job = queue.submit()
        queue.store.claim(0)

        for _ in range(2):
            job = queue.store.cancel(job.id)
            assert (job.state, job.stop_request) == ("running", "cancel")

    @pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
    def test_an_ended_one_cannot_be(self, queue: Queue, state: str) -> None:
        job = queue.submit()
        lease = queue.store.claim(0)
        assert lease is not None
        assert queue.store.end(lease, state=state, ran_s=1.0)

        with pytest.raises(StateError, match=f"is {state}"):
            queue.store.cancel(job.id)


class TestResuming:
    @pytest.mark.parametrize("state", ["failed", "cancelled"])
    def test_an_ended_job_waits_again(self, queue: Queue, state: str) -> None:
        job = queue.submit()
        lease = queue.store.claim(0)
        assert lease is not None
        queue.store.end(lease, state=state, ran_s=2.5, error={"code": "c", "message": "m"})
        queue.clock.now += 10

        resumed = queue.store.resume(job.id)

        assert (resumed.state, resumed.error, resumed.ended) == ("queued", None, None)
        assert (resumed.number, resumed.ran_s) == (job.number, 2.5)
        assert resumed.started == queue.clock.now - 10
        again = queue.store.claim(0)
        assert again is not None
        assert again.job.id == job.id

    def test_a_live_or_done_one_cannot_be(self, queue: Queue) -> None:
        job = queue.submit()
        with pytest.raises(StateError, match="is queued"):
            queue.store.resume(job.id)
        lease = queue.store.claim(0)
        assert lease is not None
        with pytest.raises(StateError, match="is running"):
            queue.store.resume(job.id)
        queue.store.end(lease, state="done", ran_s=1.0)
        with pytest.raises(StateError, match="is done"):
            queue.store.resume(job.id)


def _at_once(work: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

"""Bodies that no client of good will sends: each gets a 4xx of the one form, never a 5xx."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from service_http import SEARCH, Server

JOBS = "/api/v1/jobs"
JSON = "application/json"
VALID = json.dumps({"kind": "search", "config": {"supernet": "mobilenet-fmnist", "budget": 3,
                                                 "proxy": ["synflow"], "max_macs": 10**6}})


def damaged() -> Iterator[bytes]:
    """Yields valid JSON with something cut, turned around or in between."""
    rng = random.Random(0)
    for _ in range(25):
        yield VALID[:rng.randrange(len(VALID))].encode()
    for _ in range(25):
        data = bytearray(VALID.encode())
        data[rng.randrange(len(data))] = rng.randrange(128, 256)
        yield bytes(data)
    for _ in range(10):
        place = rng.randrange(1, len(VALID))
        yield (VALID[:place] + rng.choice("{}[],:\"\x00\x1f\\") + VALID[place:]).encode()


def wrong() -> Iterator[Any]:
    """Yields JSON that is no job."""
    yield from (None, True, 1, -1.5, "search", [], [SEARCH], {}, {"kind": None}, {"kind": 1},
                {"kind": []}, {"kind": "search"}, {"config": {}}, {"kind": "SEARCH", "config": {}},
                {"kind": "search", "config": None}, {"kind": "search", "config": []},
                {"kind": "search", "config": "x"}, {**SEARCH, "user": "root"},
                {**SEARCH, "\ud800": 1}, {"kind": "\ud800", "config": {}},
                {"kind": "search", "config": {"\ud800": 1}}, {"kind": "import", "config": {}},
                {"kind": "search", "config": {"a\nb\u2028c": 1}},
                {"kind": "import", "config": {"result": "../../etc/passwd"}},
                {"kind": "export", "config": {"job": "../x"}}, {"kind": "rank", "config": {"n": 1}},
                {"kind": "prune", "config": {}}, {"kind": "prune", "config": {"model": 3}})
    values = (None, True, -1, 0, 10**400, 1e308, float("nan"), float("inf"), "", "\0", "\ud800",
              "x" * 5000, [], [[]], {}, {"a": {"b": [1]}}, [None], "../../etc/passwd")
    for name in ("budget", "supernet", "objectives", "max_macs", "searcher_options", "stop_at",
                 "proxy", "seed"):
        for value in values:
            yield {"kind": "search", "config": {"max_params": -1, name: value}}


def nested(depth: int, opening: str, closing: str) -> bytes:
    return (f'{{"kind": "search", "config": {{"budget": {opening * depth}1{closing * depth}}}}}'
            ).encode()


DAMAGED = [*damaged(),
           *(nested(depth, *pair) for depth in (50, 300, 900, 990, 100_000)
             for pair in (("[", "]"), ('{"a":', "}"))),
           b"", b" ", b"\xff\xfe", b"\xef\xbb", VALID.encode("utf-16")[:-1],
           b'{"kind": "search", "config": {"budget": ' + b"9" * 10_000 + b"}}",
           b"kind=search&budget=3", b"<job/>", b"\x1f\x8b\x08\x00", b"NaN", b"[" * 900_000]
WRONG = list(wrong())


def assert_refused(server: Server, body: bytes, content_type: str = JSON) -> str:
    answer = server.client.post(JOBS, content=body, headers={"Content-Type": content_type})
    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "field"}
    assert error["message"]
    assert len(error["message"].splitlines()) == 1
    assert len(answer.content) < 3000
    return str(error["message"])


def test_there_are_more_than_a_hundred() -> None:
    assert len(DAMAGED) + len(WRONG) > 200


@pytest.mark.parametrize("number", range(len(DAMAGED)))
def test_damaged(http: Server, number: int) -> None:
    assert_refused(http, DAMAGED[number])


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong(http: Server, number: int) -> None:
    assert_refused(http, json.dumps(WRONG[number]).encode())


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "",
                                          "multipart/form-data; boundary=x", "application/xml"])
def test_other_media(http: Server, content_type: str) -> None:
    # A page of another site can send these without asking first.
    assert "application/json" in assert_refused(http, VALID.encode(), content_type)


@pytest.mark.parametrize(("config", "field", "message"), [
    ({"budget": 0}, "budget", "--budget: Input should be greater than or equal to 1 (got 0)"),
    ({"bugdet": 1}, "bugdet", "--bugdet: Extra inputs are not permitted (got 1)"),
    ({"study": "x"}, None, "--study names a study in a shared storage; give --storage, too"),
    ({"objectives": ["speed"]}, "objectives", "--objectives: unknown objective 'speed'; known: "),
])
def test_the_sentence_is_the_command_lines(http: Server, config: dict[str, Any], field: str | None,
                                           message: str) -> None:
    answer = http.client.post(JOBS, json={"kind": "search", "config": config})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, "invalid", field)
    assert error["message"].startswith(message)


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "before=0", "before=-1",
                                   f"before={10**30}", "state=sleeping", "kind=x", "user=%00",
                                   "user=a%20b", "limit=1e2", "before=%FF"])
def test_wrong_queries(http: Server, query: str) -> None:
    answer = http.client.get(f"{JOBS}?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
    assert answer.json()["error"]["field"] == query.partition("=")[0]


@pytest.mark.parametrize("query", ["unknown=1", "limit=1&limit=2", "%FF=%FE", "&&&", "=",
                                   f"before={2**63 - 1}"])
def test_odd_queries(http: Server, query: str) -> None:
    assert http.client.get(f"{JOBS}?{query}").status_code == 200


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 201, "é", "\x01"])
def test_wrong_keys(http: Server, key: str) -> None:
    answer = http.client.post(JOBS, json=SEARCH, headers={b"Idempotency-Key": key.encode()})
    assert answer.status_code == 422


def test_a_key_gives_the_job_of_then(http: Server) -> None:
    first, again = (http.client.post(JOBS, json=SEARCH, headers={"Idempotency-Key": "k"})
                    for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    other = http.client.post(JOBS, json={"kind": "search", "config": {"budget": 9}},
                             headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "key_reused")

"""Load for the service: streams that listen, and requests on a fixed schedule.

A process of its own, so that it shares no interpreter with what it measures. A request's latency
counts from the moment that the schedule gives it, not from when a connection was free: a server
that stalls cannot hide behind requests that were never sent.

    python tests/benchmarks/_load.py PORT SECONDS RATE STREAMS JOB,JOB…

All streams follow the first job, which must run for longer; the script

prints one JSON object.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field

import numpy as np

CONNECTIONS = 32


@dataclass
class Tally:
    """What happened."""

    latencies_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    events: int = 0
    streams_open: int = 0


async def main(port: int, seconds: float, rate: float, streams: int, jobs: list[str]) -> None:
    """Loads the server and prints what it did."""
    tally = Tally()
    listening = [asyncio.create_task(listen(port, jobs[0], tally))
                 for _ in range(streams)]
    await asyncio.sleep(1.0)  # all streams have had their past
    opened = tally.streams_open
    queue: asyncio.Queue[tuple[float, str] | None] = asyncio.Queue()
    workers = [asyncio.create_task(ask(port, queue, tally)) for _ in range(CONNECTIONS)]
    paths = ["/api/v1/jobs?limit=50", *(f"/api/v1/jobs/{job}" for job in jobs)]
    start = time.perf_counter()
    for number in range(int(seconds * rate)):
        due = start + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        queue.put_nowait((due, paths[0] if number % 2 else paths[1 + number // 2 % len(jobs)]))
    for _ in workers:
        queue.put_nowait(None)
    await asyncio.gather(*workers)
    took = time.perf_counter() - start
    still = tally.streams_open
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    found = np.array(tally.latencies_ms)
    print(json.dumps({
        "requests": len(found), "seconds": round(took, 1),
        "per_second": round(len(found) / took, 1),
        "streams": streams, "streams_open_before_and_after": [opened, still],
        "events": tally.events, "statuses": tally.statuses, "errors": tally.errors[:5],
        "error_count": len(tally.errors), "cpu_s": round(time.process_time(), 1),
        "p50_ms": round(float(np.percentile(found, 50)), 1),
        "p90_ms": round(float(np.percentile(found, 90)), 1),
        "p99_ms": round(float(np.percentile(found, 99)), 1),
        "max_ms": round(float(found.max()), 1)}))


async def ask(port: int, queue: "asyncio.Queue[tuple[float, str] | None]", tally: Tally) -> None:
    """Sends what is due over one connection that is kept."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (item := await queue.get()) is not None:
        due, path = item
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            status, length = await head(reader)
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            tally.errors.append(f"{path}: {type(error).__name__}: {error}")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        tally.latencies_ms.append((time.perf_counter() - due) * 1e3)
        tally.statuses[status] = tally.statuses.get(status, 0) + 1
        if status != 200:
            tally.errors.append(f"{path}: {status}")
    writer.close()


async def listen(port: int, job: str, tally: Tally) -> None:
    """Follows a job's events until it is cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /api/v1/jobs/{job}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                 "Accept: text/event-stream\r\n\r\n".encode())
    status, _ = await head(reader)
    if status != 200:
        tally.errors.append(f"events of {job}: {status}")
        return
    tally.streams_open += 1
    try:
        while line := await reader.readline():
            tally.events += line.startswith(b"data:")
    finally:
        tally.streams_open -= 1
        writer.close()


async def head(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Returns status and length of an answer."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next((int(line.partition(":")[2]) for line in text.split("\r\n")
                   if line.startswith("content-length:")), 0)
    return int(text.split(" ", 2)[1]), length


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]),
                     sys.argv[5].split(",")))

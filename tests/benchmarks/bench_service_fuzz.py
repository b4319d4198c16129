"""schemathesis over the service's OpenAPI document: is there an answer of 5xx?

The server runs as it would for a team, on a folder of its own, and jobs that the fuzzer manages to
submit are really run. Streams of events are asked for in a run without the phase that follows
links: a stream of a live job does not end.

    python tests/benchmarks/bench_service_fuzz.py [--examples 200] [--only-print]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _report import write_report
from _service import Service, environment

SEED = 0
EVENTS = "/events$"


def main() -> None:
    """Fuzzes, prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--only-print", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        service = Service(root / "data", root / "cache")
        service.start()
        service.wait(service.submit("search", {"budget": 2}))
        token = subprocess.run(
            [str(Path(sys.executable).with_name("nas")), "serve", "token", "create", "fuzzer",
             "--role", "admin", "--data", str(service.data)],
            check=True, capture_output=True, text=True).stdout.strip()
        runs = {"all_but_streams": fuzz(service, root, token, options.examples,
                                        "--exclude-path-regex", EVENTS),
                "streams": fuzz(service, root, token, options.examples, "--include-path-regex",
                                EVENTS, "--phases", "examples,coverage,fuzzing")}
        jobs = service.get("jobs?limit=1")["counts"]
        service.stop()
    figures = {"schemathesis": version("schemathesis"), "examples": options.examples,
               "runs": runs, "jobs_afterwards": jobs}
    print(json.dumps(figures, indent=1))
    if not options.only_print:
        print(write_report("service_fuzz", figures, seed=SEED))
    if any(run["server_errors"] or run["exit_code"] for run in runs.values()):
        raise SystemExit("the fuzzer found something")


def fuzz(service: Service, root: Path, token: str, examples: int,
         *options: str) -> dict[str, Any]:
    """Runs schemathesis and returns what was answered."""
    log = root / "fuzz.har"
    log.unlink(missing_ok=True)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("schemathesis")), "run",
         f"{service.url}/openapi.json", "--checks", "not_a_server_error", "--max-examples",
         str(examples), "--seed", str(SEED), "--request-timeout", "30", "--continue-on-failure",
         "--suppress-health-check", "all", "--header",
         f"Authorization: Bearer {token}", "--generation-with-security-parameters", "false",
         "--no-color", "--report", "har", "--report-har-path",
         str(log), *options],
        cwd=root, env=environment(service.cache), capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], file=sys.stderr)
    entries = json.loads(log.read_text())["log"]["entries"]
    statuses = Counter(entry["response"]["status"] for entry in entries)
    return {"exit_code": done.returncode, "requests": len(entries),
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "server_errors": sum(count for status, count in statuses.items() if status >= 500)}


if __name__ == "__main__":
    main()

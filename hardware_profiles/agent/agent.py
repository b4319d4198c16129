#!/usr/bin/env python3
"""Measures the models of a bundle on this machine and writes them to a result file.

Needs Python 3.6 or newer, numpy and onnxruntime; this one file is all there is. It keeps a journal
beside the result, so after Ctrl-C, a crash or a power cut the same command goes on where it was.

    python3 agent.py --out result.json              from the unzipped bundle
    python3 agent.py --bundle bundle.zip --ep tensorrt --ep-option trt_engine_cache_enable=1
"""

import argparse
import fcntl
import hashlib
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

try:
    import numpy as np
    import onnxruntime as ort
except ImportError as missing:
    sys.exit("agent: %s; install it: python3 -m pip install numpy onnxruntime" % missing)

SCHEMA_VERSION = 1  # of manifest and result
OLDEST_RUNTIME = (1, 18)  # the first that reads the models' file format
NETWORK_PREFIX = "network "  # of the keys of whole networks; the others are blocks
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider",
             "tensorrt": "TensorrtExecutionProvider", "openvino": "OpenVINOExecutionProvider",
             "xnnpack": "XnnpackExecutionProvider"}
TOTAL_RAILS = re.compile(r"\b(?:VDD_IN|POM_5V_IN)\s+(\d+)(?:mW)?/")  # of tegrastats, in mW
COOLING_LIMIT_S, SENSOR_LIMIT_S = 900.0, 10.0

Record = Dict[str, Any]


class AgentError(Exception):
    """What stops the agent: one line with the cause and the remedy."""


def say(text: str) -> None:
    sys.stderr.write("agent: %s\n" % text)
    sys.stderr.flush()


# --- the bundle -----------------------------------------------------------------------------------

class Bundle:
    """A zip file or the folder that it was unpacked to; nothing is ever written into it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._zip = None  # type: Optional[zipfile.ZipFile]
        try:
            if not os.path.isdir(path):
                self._zip = zipfile.ZipFile(path)
            self.manifest = json.loads(self._read("manifest.json").decode())  # type: Record
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            self.close()
            raise AgentError("bundle %s cannot be read (%s); copy it here again, whole"
                             % (path, error))
        if not isinstance(self.manifest, dict) or "schema_version" not in self.manifest:
            raise AgentError("bundle %s has no usable manifest.json; copy it here again" % path)
        if self.manifest["schema_version"] != SCHEMA_VERSION:
            raise AgentError("bundle %s has schema version %s, this agent reads %d; use the agent "
                             "that came with it" % (path, self.manifest["schema_version"],
                                                    SCHEMA_VERSION))

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()

    def verify(self) -> None:
        """Compares manifest and every file with their hashes."""
        content = {key: value for key, value in self.manifest.items() if key != "id"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        if hashlib.sha256(text.encode()).hexdigest()[:16] != self.manifest.get("id"):
            raise AgentError("manifest.json of bundle %s was changed; copy the bundle again"
                             % self.path)
        for key in self.manifest["models"]:
            self.model(key)

    def model(self, key: str) -> bytes:
        """Returns the bytes of a model, which are those that were exported."""
        entry = self.manifest["models"][key]
        if not re.match(r"models/[0-9a-f]{16}\.onnx$", entry["file"]):
            raise AgentError("bundle %s names a file outside itself: %s; do not use it"
                             % (self.path, entry["file"]))
        try:
            data = self._read(entry["file"])
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise AgentError("%s is missing or damaged (%s); copy the bundle here again"
                             % (entry["file"], error))
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise AgentError("%s is not the file that was exported (its hash differs); copy the "
                             "bundle here again" % entry["file"])
        return data

    def _read(self, name: str) -> bytes:
        if self._zip is not None:
            return self._zip.read(name)
        with open(os.path.join(self.path, name), "rb") as file:
            return file.read()


# --- what this machine is -------------------------------------------------------------------------

class Machine:
    """What the system tells of itself; what it does not tell is None or absent.

    `root` is where /sys, /proc and /etc are looked for.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def text(self, path: str) -> Optional[str]:
        try:
            with open(os.path.join(self.root, path), "rb") as file:
                return file.read().decode("utf-8", "replace").strip("\0\n ")
        except OSError:
            return None

    def number(self, path: str) -> Optional[float]:
        try:
            return float(self.text(path) or "")
        except ValueError:
            return None

    def list(self, path: str, pattern: str) -> List[str]:
        try:
            names = sorted(os.listdir(os.path.join(self.root, path)))
        except OSError:
            return []
        return [path + "/" + name for name in names if re.match(pattern + "$", name)]

    def facts(self) -> Record:
        soc = self.text("proc/device-tree/model")
        named = r"^(?:model name|Model name)\s*:\s*(.+)$"
        cpu = (re.search(named, self.text("proc/cpuinfo") or "", re.MULTILINE)
               or re.search(named, output_of(["lscpu"]) or "", re.MULTILINE))
        return {"cpu": cpu.group(1) if cpu else soc or platform.processor() or platform.machine(),
                "cores": os.cpu_count(), "soc": soc, "l4t": self.text("etc/nv_tegra_release"),
                "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
                "os": platform.platform(), "machine": platform.machine(),
                "python": platform.python_version(), "numpy": np.__version__,
                "onnxruntime": ort.__version__}

    def state(self, when: str) -> Record:
        """Returns clocks, temperatures and power mode as they are now."""
        clocks = [self.number(cpu + "/cpufreq/scaling_cur_freq")
                  for cpu in self.list("sys/devices/system/cpu", r"cpu\d+")]
        known = [clock / 1000.0 for clock in clocks if clock]
        return {"when": when, "time": time.time(), "clock_mhz": known or None,
                "temperature_c": self.temperatures() or None, "power_mode": self.power_mode()}

    def temperatures(self) -> Dict[str, float]:
        found = {}
        for zone in self.list("sys/class/thermal", r"thermal_zone\d+"):
            value = self.number(zone + "/temp")
            if value is not None and 0.0 < value < 200000.0:  # sensors that are off say odd things
                name = "%s %s" % (os.path.basename(zone), self.text(zone + "/type") or "")
                found[name.strip()] = value / 1000.0
        return found

    def power_mode(self) -> Optional[str]:
        answer = output_of(["nvpmodel", "-q"])
        mode = re.search(r"NV Power Mode:\s*(\S+)", answer or "")
        if mode:
            return mode.group(1)
        return self.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def output_of(command: List[str]) -> Optional[str]:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              stdin=subprocess.DEVNULL, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


# --- power ----------------------------------------------------------------------------------------

class Rapl:
    """Energy counters of x86 packages, in µJ; they wrap around."""

    name = "rapl"

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.zones = [zone for zone in machine.list("sys/class/powercap", r"intel-rapl:\d+")
                      if machine.number(zone + "/energy_uj") is not None]
        self.before = []  # type: List[float]
        self.started = 0.0

    def begin(self) -> None:
        self.before, self.started = self._read(), time.time()

    def ready(self) -> bool:
        return True

    def end(self) -> Tuple[float, float]:
        """Returns joules and seconds since `begin`."""
        seconds, total = time.time() - self.started, 0.0
        for zone, before, after in zip(self.zones, self.before, self._read()):
            if after < before:
                after += self.machine.number(zone + "/max_energy_range_uj") or 0.0
            total += after - before
        return total / 1e6, seconds

    def close(self) -> None:
        pass

    def _read(self) -> List[float]:
        return [self.machine.number(zone + "/energy_uj") or 0.0 for zone in self.zones]


class Tegrastats:
    """The whole board's input power on a Jetson, sampled ten times a second."""

    name = "tegrastats"

    def __init__(self) -> None:
        self.samples = []  # type: List[Tuple[float, float]]
        self.started = 0.0
        self.process = subprocess.Popen(["tegrastats", "--interval", "100"],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.reader = threading.Thread(target=self._collect, daemon=True)
        self.reader.start()
        time.sleep(1.0)

    def begin(self) -> None:
        self.started = time.time()

    def ready(self) -> bool:
        """Tells whether a mean has enough samples."""
        return sum(when >= self.started for when, _ in self.samples[-3:]) == 3

    def end(self) -> Tuple[float, float]:
        """Returns joules and seconds since `begin`."""
        now = time.time()
        watts = [power for when, power in list(self.samples) if self.started <= when <= now]
        if not self.ready():
            raise AgentError("tegrastats gave %d samples in %.1f s; leave out --power"
                             % (len(watts), now - self.started))
        return sum(watts) / len(watts) * (now - self.started), now - self.started

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        if self.process.stdout:
            self.process.stdout.close()

    def _collect(self) -> None:
        for line in self.process.stdout or ():
            found = TOTAL_RAILS.search(line.decode("utf-8", "replace"))
            if found:
                self.samples.append((time.time(), float(found.group(1)) / 1000.0))


def power_window(sensor: Any, seconds: float,
                 act: Callable[[], None]) -> Tuple[float, float, int]:
    """Repeats `act` for some time; returns the joules, the mean watts and how often it ran.

    It takes longer where the sensor needs that.
    """
    count, now = 0, time.time()
    end, limit = now + seconds, now + seconds + SENSOR_LIMIT_S
    sensor.begin()
    while now < end or (not sensor.ready() and now < limit):
        act()
        count, now = count + 1, time.time()
    joules, spent = sensor.end()
    return joules, joules / spent, count


def power_sensor(machine: Machine) -> Any:
    rapl = Rapl(machine)
    if rapl.zones:
        return rapl
    try:
        sensor = Tegrastats()
    except OSError:
        sensor = None
    if sensor is None or not sensor.samples:
        if sensor is not None:
            sensor.close()
        raise AgentError("no power sensor can be read here (neither tegrastats nor RAPL, which "
                         "often needs root); leave out --power")
    return sensor


# --- one model ------------------------------------------------------------------------------------

def clock(name: str) -> Callable[[], int]:
    """Returns a clock in ns: ``thread_cpu``, that of the calling thread, or ``wall``."""
    modern = {"thread_cpu": "thread_time_ns", "wall": "perf_counter_ns"}[name]
    if hasattr(time, modern):
        return getattr(time, modern)  # type: ignore[no-any-return]
    number = {"thread_cpu": getattr(time, "CLOCK_THREAD_CPUTIME_ID", 3),
              "wall": time.CLOCK_MONOTONIC}[name]
    return lambda: int(time.clock_gettime(number) * 1e9)  # Python 3.6


class Loaded:
    """A model opened as in deployment, its inputs and outputs bound to memory beforehand."""

    def __init__(self, key: str, data: bytes, setup: Record) -> None:
        self.cores = own_cores(setup)
        try:
            self.session = open_session(key, data, setup)
            self.binding = self.session.io_binding()
            self.kept = []  # type: List[Any]
            source = np.random.RandomState(0)
            for tensor in self.session.get_inputs():
                kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16}[tensor.type]
                value = ort.OrtValue.ortvalue_from_numpy(
                    source.standard_normal(tensor.shape).astype(kind))
                self.binding.bind_ortvalue_input(tensor.name, value)
                self.kept.append(value)
            names = [tensor.name for tensor in self.session.get_outputs()]
            for name in names:
                self.binding.bind_output(name)
            self.run()  # tells the shapes of the outputs
            for name, value in zip(names, self.binding.get_outputs()):
                self.binding.bind_ortvalue_output(name, value)
                self.kept.append(value)
        except AgentError:
            raise
        except Exception as error:  # the runtime's exceptions share no other base
            raise AgentError("%s cannot be run on %s: %s"
                             % (key, setup["provider"], " ".join(str(error).split())[:500]))

    def run(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def time(self, protocol: Record, timer: str) -> Record:
        """Returns one pass: each timed run's CPU and wall time and both over the loop, in ns."""
        if not self.cores:
            return self.timed(protocol, timer)
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.cores[0]})  # this thread alone
        try:
            return self.timed(protocol, timer)
        finally:
            os.sched_setaffinity(0, before)

    def timed(self, protocol: Record, timer: str) -> Record:
        cpu, wall = clock(timer), clock("wall")
        run, binding = self.session.run_with_iobinding, self.binding
        for _ in range(protocol["warm_up"]):
            run(binding)
        cpu_ns, wall_ns = np.empty((2, protocol["runs"]), np.int64)
        waited = waited_ns() if self.cores else 0
        loop_wall, loop_cpu = wall(), cpu()
        for index in range(protocol["runs"]):
            wall_start, cpu_start = wall(), cpu()
            run(binding)
            cpu_end, wall_end = cpu(), wall()
            cpu_ns[index], wall_ns[index] = cpu_end - cpu_start, wall_end - wall_start
        loop_cpu, loop_wall = cpu() - loop_cpu, wall() - loop_wall
        if self.cores:  # this thread spins while another waits for a core: count the waiting
            loop_wall = loop_cpu + waited_ns() - waited
        return {"cpu_ns": cpu_ns.tolist(), "wall_ns": wall_ns.tolist(),
                "loop_cpu_ns": loop_cpu, "loop_wall_ns": loop_wall}


def open_session(key: str, data: bytes, setup: Record) -> Any:
    provider, threads = setup["provider"], setup["threads"]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if own_cores(setup):  # counted from 1; the calling thread is not among them
        options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(
            str(core + 1) for core in own_cores(setup)[1:]))
    if provider != PROVIDERS["cpu"]:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = ort.InferenceSession(data, options,
                                   providers=[(provider, setup["provider_options"])])
    if session.get_providers()[0] != provider:
        raise AgentError("%s: ONNX Runtime fell back from %s to %s; its drivers or libraries are "
                         "missing" % (key, provider, session.get_providers()[0]))
    return session


def own_cores(setup: Record) -> List[int]:
    """Returns a core for each of several threads on the CPU, different physical ones first."""
    if (setup["threads"] == 1 or setup["provider"] != PROVIDERS["cpu"]
            or not hasattr(os, "sched_getaffinity")):
        return []
    return sorted(os.sched_getaffinity(0), key=lambda core: (is_sibling(core), core)
                  )[:setup["threads"]]


def is_sibling(core: int) -> bool:
    """Tells whether a hyperthread listed before this one has the same physical core."""
    try:
        with open("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list" % core) as file:
            return int(file.read().replace("-", ",").split(",")[0]) != core
    except (OSError, ValueError):
        return False


def waited_ns() -> int:
    """Returns how long this process's threads were ready to run and did not, as far as known."""
    waited = 0
    for task in os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else ():
        try:
            with open("/proc/self/task/%s/schedstat" % task) as file:
                waited += int(file.read().split()[1])
        except (OSError, ValueError, IndexError):
            pass  # a thread that has just ended
    return waited


def fastest_ns(one: Record) -> float:
    """Returns a pass's fastest run, without those that the CPU clock lost part of.

    Such a run's wall/CPU ratio is more than 5 % above the pass's median.
    """
    cpu = np.array(one["cpu_ns"], np.float64)
    ratio = np.array(one["wall_ns"], np.float64) / np.maximum(cpu, 1.0)
    return float(cpu[ratio <= 1.05 * np.median(ratio)].min())


def passes_agree(passes: List[Record], protocol: Record) -> bool:
    minima = [fastest_ns(one) for one in passes]
    limit = (1.0 + protocol["tolerance"]) * min(minima)
    return bool(sum(value <= limit for value in minima) >= protocol["passes"])


def peak_bytes(key: str, bundle: Bundle, setup: Record) -> Optional[int]:
    """Returns the resident memory that loading and running a model adds, from a process of its own.

    Must be called before this process has opened a session: threads do not survive a fork.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before = status_bytes("VmRSS")
            Loaded(key, bundle.model(key), setup).run()
            os.write(write_end, str(status_bytes("VmHWM") - before).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return int(answer) if answer and int(answer) > 0 else None


def status_bytes(field: str) -> int:
    with open("/proc/self/status") as file:
        found = re.search(r"^%s:\s+(\d+) kB" % field, file.read(), re.MULTILINE)
    if not found:
        raise OSError("no %s" % field)
    return int(found.group(1)) * 1024


# --- the journal ----------------------------------------------------------------------------------

class Journal:
    """One JSON record a line, appended when it is there; a torn last line is dropped.

    Raises `AgentError` if another agent is at work on it, or if it is of other work.
    """

    def __init__(self, path: str, header: Record) -> None:
        self.file = open(path, "a+b")
        self.path = path
        self.passes = {}  # type: Dict[str, List[Record]]
        self.states = []  # type: List[Record]
        self.peaks = {}  # type: Dict[str, Optional[int]]
        self.energy = {}  # type: Dict[str, Record]
        try:
            self._open(header)
        except BaseException:
            self.file.close()
            raise

    def _open(self, header: Record) -> None:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AgentError("another agent is writing %s; wait for it, or give another --out"
                             % self.path)
        records = list(self._whole_lines())
        if not records:
            self.add(header)
        elif records[0] != header:
            theirs, ours = flat(records[0]), flat(header)
            changed = ["%s was %s and is %s" % (name, theirs.get(name), ours.get(name))
                       for name in sorted(set(theirs) | set(ours))
                       if theirs.get(name) != ours.get(name)]
            raise AgentError("%s holds a measurement under other conditions (%s); go on as it was "
                             "begun, or delete it to begin anew" % (self.path, "; ".join(changed)))
        for record in records[1:]:
            self._take(record)

    def add(self, record: Record, sync: bool = False) -> None:
        self.file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self.file.flush()
        if sync:
            os.fsync(self.file.fileno())
        self._take(record)

    def _take(self, record: Record) -> None:
        kind = record.get("record")
        if kind == "pass":
            self.passes.setdefault(record["key"], []).append(record["times"])
        elif kind == "state":
            self.states.append(record["state"])
        elif kind == "peak":
            self.peaks[record["key"]] = record["bytes"]
        elif kind == "energy":
            self.energy[record["key"]] = record["energy"]

    def _whole_lines(self) -> Iterator[Record]:
        self.file.seek(0)
        end = 0
        for line in self.file:
            try:
                if not line.endswith(b"\n"):
                    break
                record = json.loads(line.decode())
            except ValueError:
                break
            end += len(line)
            yield record
        self.file.truncate(end)


def flat(record: Record) -> Record:
    found = {key: value for key, value in record.items() if key != "setup"}
    found.update(record.get("setup", {}))
    return found


# --- the work -------------------------------------------------------------------------------------

class Progress:
    """One line on stderr: drawn over on a terminal, else a new one every ten seconds."""

    def __init__(self) -> None:
        self.started = self.shown = time.time()
        self.first = None  # type: Optional[int]

    def show(self, stage: str, done: int, total: int) -> None:
        now, terminal = time.time(), sys.stderr.isatty()
        if self.first is None:
            self.first, self.started = done - 1, now
        if now - self.shown < (0.2 if terminal else 10.0) and done < total:
            return
        self.shown = now
        left = (now - self.started) / max(done - self.first, 1) * (total - done)
        text = "agent: %s %d/%d, about %d min %02d s left" % (
            stage, done, total, left // 60, left % 60)
        sys.stderr.write("\r%-70s" % text if terminal else text + "\n")
        if terminal and done >= total:
            sys.stderr.write("\n")
        sys.stderr.flush()


class Bench:
    """Does all measurements of a bundle that its journal does not hold yet."""

    def __init__(self, bundle: Bundle, setup: Record, journal: Journal, machine: Machine,
                 max_temp: Optional[float]) -> None:
        self.bundle, self.setup, self.journal, self.machine = bundle, setup, journal, machine
        self.protocol = dict(bundle.manifest["protocol"], **setup["protocol"])
        self.max_temp = max_temp
        self.keys = [key for key in bundle.manifest["models"]
                     if not setup["nets_only"] or key.startswith(NETWORK_PREFIX)]
        self.nets = [key for key in self.keys if key.startswith(NETWORK_PREFIX)]
        self.kept = {}  # type: Dict[str, Loaded]
        available = re.search(r"MemAvailable:\s+(\d+)", machine.text("proc/meminfo") or "")
        self.room = min(512 * 2**20, int(available.group(1)) * 128 if available else 2**26)

    def note(self, when: str) -> None:
        if any(state["when"] == when for state in self.journal.states):
            return
        self.journal.add({"record": "state", "state": self.machine.state(when)}, sync=True)

    def measure_peaks(self) -> None:
        if self.setup["provider"] != PROVIDERS["cpu"] or not os.path.exists("/proc/self/status"):
            return
        progress = Progress()
        for index, key in enumerate(self.nets):
            if key not in self.journal.peaks:
                self.journal.add({"record": "peak", "key": key,
                                  "bytes": peak_bytes(key, self.bundle, self.setup)})
                progress.show("memory", index + 1, len(self.nets))

    def measure_passes(self) -> None:
        """Passes over all models in shuffled order, then more over those that disagree."""
        protocol, pending, done = self.protocol, list(self.keys), 0
        total, progress = len(pending) * protocol["passes"], Progress()
        for number in range(protocol["max_passes"]):
            random.Random("%s %d" % (self.bundle.manifest["id"], number)).shuffle(pending)
            for key in pending:
                done += 1
                if len(self.journal.passes.get(key, ())) > number:
                    continue  # before the agent was stopped
                self.cool_down()
                times = self.loaded(key).time(protocol, self.setup["timer"])
                self.journal.add({"record": "pass", "key": key, "times": times})
                progress.show("pass %d" % (number + 1), done, total)
            self.note("pass %d" % (number + 1))
            if number + 1 >= protocol["passes"]:
                pending = [key for key in self.keys if key in pending and not passes_agree(
                    self.journal.passes[key][:number + 1], protocol)]
                if number + 1 < protocol["max_passes"]:
                    total += len(pending)
            if not pending:
                break

    def measure_energy(self, seconds: float) -> None:
        """Energy of each whole network over a window of runs, the idle power beside it."""
        todo = [key for key in self.nets if key not in self.journal.energy]
        if todo:
            sensor = power_sensor(self.machine)
            try:
                self._measure_energy(todo, sensor, seconds)
            finally:
                sensor.close()

    def _measure_energy(self, todo: List[str], sensor: Any, seconds: float) -> None:
        progress = Progress()
        _, idle_watts, _ = power_window(sensor, seconds, lambda: time.sleep(0.01))
        for index, key in enumerate(todo):
            self.cool_down()
            loaded = self.loaded(key)
            loaded.run()
            joules, watts, count = power_window(sensor, seconds, loaded.run)
            self.journal.add({"record": "energy", "key": key, "energy": {
                "mj": 1000.0 * joules / count, "runs": count, "watts": watts,
                "idle_watts": idle_watts, "source": sensor.name}})
            progress.show("energy", index + 1, len(todo))

    def loaded(self, key: str) -> Loaded:
        if key in self.kept:
            return self.kept[key]
        data = self.bundle.model(key)
        loaded = Loaded(key, data, self.setup)
        if len(data) <= self.room:
            self.room -= len(data)
            self.kept[key] = loaded
        return loaded

    def cool_down(self) -> None:
        if self.max_temp is None:
            return
        began = time.time()
        while True:
            hottest = max(self.machine.temperatures().values())
            if hottest <= self.max_temp:
                return
            if time.time() - began > COOLING_LIMIT_S:
                raise AgentError("the board stays at %.0f °C; cool it or raise --max-temp, then "
                                 "run the same command again" % hottest)
            time.sleep(0.5)

    def result(self, facts: Record) -> Record:
        journal, models = self.journal, {}
        for key in self.keys:
            models[key] = {"sha256": self.bundle.manifest["models"][key]["sha256"],
                           "passes": journal.passes[key],
                           "peak_bytes": journal.peaks.get(key),
                           "energy": journal.energy.get(key)}
        return {"schema_version": SCHEMA_VERSION, "complete": True,
                "bundle": self.bundle.manifest["id"], "setup": self.setup, "machine": facts,
                "states": journal.states, "models": models}


def make_setup(options: argparse.Namespace, manifest: Record) -> Record:
    """Returns the conditions of the measurement; a journal of others is not continued."""
    wish, provider = manifest["runtime"], PROVIDERS[options.ep]
    version = tuple(int(part) for part in re.findall(r"\d+", ort.__version__)[:2])
    if version < OLDEST_RUNTIME:
        raise AgentError("onnxruntime %s is too old for these models; install %d.%d or newer"
                         % (ort.__version__, OLDEST_RUNTIME[0], OLDEST_RUNTIME[1]))
    if provider not in ort.get_available_providers():
        raise AgentError("this onnxruntime has no %s, only %s; install the package that has it, or "
                         "choose another --ep" % (provider, ", ".join(
                             ort.get_available_providers())))
    if options.threads not in (None, wish["threads"]):
        raise AgentError("the bundle is for %d thread(s), not %d; export one with --threads %d"
                         % (wish["threads"], options.threads, options.threads))
    cores = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
             else os.cpu_count() or 1)
    if wish["threads"] > cores:
        raise AgentError("the bundle is for %d threads, there are %d cores here; export one with "
                         "fewer --threads" % (wish["threads"], cores))
    given = {}
    for option in options.ep_option:
        name, equals, value = option.partition("=")
        if not equals:
            raise AgentError("--ep-option %s: give it as name=value" % option)
        given[name] = value
    protocol = manifest["protocol"]
    runs, passes = options.runs or protocol["runs"], options.passes or protocol["passes"]
    if runs < 5 or passes < 2:
        raise AgentError("--runs %d --passes %d: at least 5 and 2" % (runs, passes))
    return {"provider": provider, "provider_options": given, "threads": wish["threads"],
            "batch": wish["batch"], "precision": wish["precision"], "version": ort.__version__,
            "timer": "thread_cpu" if options.ep == "cpu" else "wall",
            "nets_only": options.nets_only, "power": options.power, "protocol": {
                "runs": runs, "passes": passes,
                "max_passes": max(passes, protocol["max_passes"] * passes // protocol["passes"])}}


def finished(out: str, bundle: str, setup: Record) -> bool:
    """Tells whether `out` is the result already; anything else of that name is an error."""
    if not os.path.exists(out):
        return False
    try:
        with open(out) as file:
            found = json.load(file)
        if found["complete"] is True and found["bundle"] == bundle and found["setup"] == setup:
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise AgentError("%s is there and is something else; give another --out, or delete it" % out)


def write_whole(path: str, content: Record) -> None:
    partial = path + ".partial"
    with open(partial, "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def work(options: argparse.Namespace) -> None:
    bundle = Bundle(options.bundle)
    try:
        measure(options, bundle, Machine(options.root))
    finally:
        bundle.close()


def measure(options: argparse.Namespace, bundle: Bundle, machine: Machine) -> None:
    setup = make_setup(options, bundle.manifest)
    if finished(options.out, bundle.manifest["id"], setup):
        say("%s is complete already; delete it to measure anew" % options.out)
        return
    bundle.verify()
    if options.max_temp is not None and not machine.temperatures():
        raise AgentError("no temperature sensor can be read here; leave out --max-temp")
    header = {"journal": SCHEMA_VERSION, "bundle": bundle.manifest["id"], "setup": setup}
    if options.power:
        power_sensor(machine).close()  # asked now; reading it would disturb what comes first
    journal = None
    try:
        journal = Journal(options.out + ".journal", header)
        bench = Bench(bundle, setup, journal, machine, options.max_temp)
        bench.note("start")
        bench.measure_peaks()
        bench.measure_passes()
        if options.power:
            bench.measure_energy(options.power_seconds)
        bench.note("end")
        write_whole(options.out, bench.result(machine.facts()))
        os.remove(journal.path)
    finally:
        if journal is not None:
            journal.file.close()
    say("done: take %s back and run `nas profile import %s` there"
        % (options.out, os.path.basename(options.out)))


def parse(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures the models of a bundle on this machine.")
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--bundle", default=here, help="zip file, or folder that it was unpacked "
                        "to; default: where this file lies")
    parser.add_argument("--out", default="result.json", help="default: %(default)s")
    parser.add_argument("--ep", choices=sorted(PROVIDERS), default="cpu",
                        help="execution provider; default: %(default)s")
    parser.add_argument("--ep-option", action="append", default=[], metavar="NAME=VALUE",
                        help="option of the execution provider, such as trt_fp16_enable=1")
    parser.add_argument("--threads", type=int, help="must be what the bundle was exported for")
    parser.add_argument("--nets-only", action="store_true",
                        help="only whole networks (an engine for each block takes TensorRT hours)")
    parser.add_argument("--runs", type=int, help="timed runs a pass, for a slow board: 30, say")
    parser.add_argument("--passes", type=int, help="passes, for a slow board: 3, say")
    parser.add_argument("--max-temp", type=float, metavar="C", help="wait while hotter than this")
    parser.add_argument("--power", action="store_true", help="measure energy, too")
    parser.add_argument("--power-seconds", type=float, default=2.0, metavar="S",
                        help="how long each network runs for that; default: %(default)s")
    parser.add_argument("--root", default="/", help=argparse.SUPPRESS)  # where /sys lies: tests
    return parser.parse_args(arguments)


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs the agent; returns 0, 2 for what the user can remedy, 130 if stopped."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work(options)
    except AgentError as error:
        say(str(error))
        return 2
    except OSError as error:
        say("%s; remedy that and run the same command again" % error)
        return 2
    except KeyboardInterrupt:
        say("stopped; the same command goes on where it was")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

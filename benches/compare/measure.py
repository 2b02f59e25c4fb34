"""One measurement: one proxy, one workload, one window. Backend, proxy and generator start anew for each."""
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass

from processes import Process, free_port, machine, own_cpu

WRK_REPORT = """
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('JSON {"requests": %d, "us": %d, "p50": %d, "p99": %d, "errors": %d}\\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
REQUEST = b"GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = 128  # bytes that /s answers


class Failed(Exception):
    """The measurement could not be made; the text says why."""


@dataclass
class Workload:
    title: str
    path: str = "/s"
    connections: int = 64
    close: bool = False
    pinned: bool = False


WORKLOADS = {
    "small": Workload("keep-alive, 128 B, 64 connections"),
    "10k": Workload("keep-alive, 10 KiB, 64 connections", path="/m"),
    "1m": Workload("keep-alive, 1 MiB, 16 connections", path="/l", connections=16),
    "close": Workload("a new connection per request, 128 B, 64 at a time", close=True),
    "1core": Workload("one worker pinned to a core, generator and backend on another, 128 B", pinned=True),
    "memory": Workload("resident memory, idle and with idle kept connections"),
}


class Bench:
    """What all measurements share: programs, settings, a temporary folder."""

    def __init__(self, options, wrk, backend):
        self.options, self.wrk, self.backend = options, wrk, backend
        self.cpus = sorted(os.sched_getaffinity(0))
        self.dir = tempfile.mkdtemp(prefix="evenkeel-compare-")
        self.script = os.path.join(self.dir, "report.lua")
        with open(self.script, "w") as file:
            file.write(WRK_REPORT)

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def measure(self, proxy, workload):
        pinned = workload.pinned
        workers, threads = (1, 1) if pinned else (self.options.workers, min(2, len(self.cpus)))
        cpu, other_cpu = (self.cpus[0], self.cpus[1]) if pinned else (None, None)
        ports = [free_port() for _ in range(3)]
        running = []
        try:
            # --leave-open: else the relay, which looks at nothing, could keep no connection under `close`.
            command = [self.backend, "--leave-open", "--threads", str(threads), *map(str, ports)]
            backend = self.start("backend", command, ports, other_cpu, running)
            port = free_port()
            values = {"dir": self.dir, "port": port, "workers": workers, **dict(zip(("b1", "b2", "b3"), ports))}
            started = self.start(proxy.name, proxy.prepare(values), [port], cpu, running)
            if workload is WORKLOADS["memory"]:
                return self.memory(started, port)
            return self.window(started, backend, port, workload, threads, other_cpu)
        finally:
            for process in reversed(running):
                process.stop()

    def start(self, name, command, ports, cpu, running):
        """Starts a server and waits until each of its ports has answered a request rightly."""
        process = Process(command, os.path.join(self.dir, name + ".log"), cpu)
        running.append(process)
        end = time.monotonic() + 10
        for port in ports:
            while not answers(port):
                if process.child.poll() is not None or time.monotonic() > end:
                    raise Failed(f"{name} does not serve; it said: {process.said() or 'nothing'}")
                time.sleep(0.05)
        return process

    def window(self, proxy, backend, port, workload, threads, cpu):
        self.generate(port, workload, threads, self.options.warmup, cpu)

        def clocks():
            return time.monotonic(), proxy.cpu(), backend.cpu(), own_cpu(), *machine()

        before = clocks()
        load = self.generate(port, workload, threads, self.options.seconds, cpu)
        elapsed, cpu_proxy, cpu_backend, cpu_own, busy, stolen = (b - a for a, b in zip(before, clocks()))
        if not load["requests"]:
            raise Failed(f"no request was answered; it said: {proxy.said()}")
        return {
            "cpu_us": cpu_proxy / load["requests"] * 1e6,
            "rps": load["requests"] / (load["us"] / 1e6),
            "p50_us": load["p50"],
            "p99_us": load["p99"],
            "requests": load["requests"],
            "errors": load["errors"],
            "noise": max(0, busy - cpu_proxy - cpu_backend - cpu_own, stolen) / elapsed,  # cores
        }

    def generate(self, port, workload, threads, seconds, cpu):
        command = [self.wrk, f"-t{threads}", f"-c{workload.connections}", f"-d{seconds}s", "--timeout", "10s",
                   "-s", self.script, f"http://127.0.0.1:{port}{workload.path}"]
        if workload.close:
            command += ["-H", "Connection: close"]
        pin = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, preexec_fn=pin,
                                  timeout=seconds + 60)
        except subprocess.TimeoutExpired:
            raise Failed("wrk did not come to an end") from None
        for line in done.stdout.splitlines():
            if line.startswith("JSON "):
                return json.loads(line[5:])
        raise Failed(f"wrk: {(done.stdout + done.stderr).strip()[-500:]}")

    def memory(self, proxy, port):
        time.sleep(1)
        idle_rss, idle_pss = proxy.memory()
        kept, errors = [], 0
        wanted = self.options.connections
        try:
            while len(kept) + errors < wanted:
                # A few at a time, so that few connections to backends are made: those are not what is measured.
                batch = [connect(port) for _ in range(min(50, wanted - len(kept) - errors))]
                answered = [client for client in batch if client and exchange(client)]
                errors += len(batch) - len(answered)
                kept += answered
            time.sleep(2)
            full_rss, _ = proxy.memory()
        finally:
            for client in kept:
                client.close()
        if not kept:
            raise Failed(f"no connection was served; it said: {proxy.said()}")
        return {"idle_rss_kib": idle_rss, "idle_pss_kib": idle_pss, "connection_kib": (full_rss - idle_rss) / len(kept),
                "errors": errors, "noise": 0.0}


def connect(port):
    try:
        client = socket.create_connection(("127.0.0.1", port), timeout=5)
        client.sendall(REQUEST)
        return client
    except OSError:
        return None


def exchange(client):
    """Reads the answer to REQUEST; whether it is whole and right."""
    answer = b""
    try:
        while len(answer.partition(b"\r\n\r\n")[2]) < BODY:
            piece = client.recv(4096)
            if not piece:
                break
            answer += piece
    except OSError:
        pass
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200 ") and len(body) == BODY:
        return True
    client.close()
    return False


def answers(port):
    client = connect(port)
    if client is None or not exchange(client):
        return False
    client.close()
    return True

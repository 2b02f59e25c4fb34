"""One measurement: one proxy, one workload, one window. Backend, proxy and generator start anew for each."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from client import answers, connect, exchange, tls_client
from processes import Process, free_port, machine, own_cpu


class Failed(Exception):
    """The measurement could not be made; the text says why."""


@dataclass
class Workload:
    title: str
    path: str = "/s"
    connections: int = 64
    close: bool = False
    pinned: bool = False
    tls: bool = False
    memory: bool = False
    generator: str = "wrk"  # see load.py
    streams: int = 1  # of each connection
    rate: int = 0  # a limit per client address, requests a second; 0 = none
    met: bool = False  # the load is above it
    slow: int = 0  # connections that send their heads byte by byte, while others are served

    def serves(self, proxy):
        """Whether this can be asked of the proxy."""
        return (proxy.tls is not None or not self.tls) and (proxy.limit is not None or not (self.rate or self.slow))


WORKLOADS = {
    "small": Workload("keep-alive, 128 B, 64 connections"),
    "10k": Workload("keep-alive, 10 KiB, 64 connections", path="/m"),
    "1m": Workload("keep-alive, 1 MiB, 16 connections", path="/l", connections=16),
    "close": Workload("a new connection per request, 128 B, 64 at a time", close=True),
    "1core": Workload("one worker pinned to a core, generator and backend on another, 128 B", pinned=True),
    "memory": Workload("resident memory, idle and with idle kept connections", memory=True, generator=None),
    "tls": Workload("TLS 1.3, keep-alive, 128 B, 64 connections", tls=True),
    "handshake": Workload("a full TLS 1.3 handshake per request (ECDSA P-256), 128 B, 64 at a time", tls=True,
                          generator="handshakes"),
    "h2": Workload("HTTP/2 over TLS 1.3, 128 B, 16 connections x 32 streams", connections=16, streams=32, tls=True,
                   generator="h2load"),
    "limited": Workload("keep-alive, 128 B, 64 connections, a limit per client address that is not met", rate=1000000),
    "limit": Workload("a limit of 1,000/s per client address, 64 connections that ask for more", rate=1000, met=True),
    "slow": Workload("8,000 connections that send a head for ever, a byte in 5 s; others meanwhile", slow=8000,
                     generator=None),
    "slow-full": Workload("10,000 of them, where nginx may hold 18,000, and HAProxy and evenkeel 9,000", slow=10000,
                          generator=None),
    "tls-memory": Workload("resident memory, idle and with idle kept TLS 1.3 connections", tls=True, memory=True,
                           generator=None),
}


class Bench:
    """What all measurements share: programs, settings, a temporary folder."""

    def __init__(self, options, generators, built, openssl):
        self.options, self.generators = options, generators
        self.backend, self.slowloris = built["echo_backend"], built["slowloris"]
        self.cpus = sorted(os.sched_getaffinity(0))
        self.dir = tempfile.mkdtemp(prefix="evenkeel-compare-")
        self.certificate = os.path.join(self.dir, "certificate.pem")  # its key is in the same file
        generators.prepare(self.dir)
        if openssl:
            self.make_certificate(openssl)

    def make_certificate(self, openssl):
        done = subprocess.run([openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                               "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext",
                               "subjectAltName=DNS:localhost", "-keyout", self.certificate, "-out", self.certificate],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            self.close()
            sys.exit(f"openssl req: {done.stderr.strip()}")

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def measure(self, proxy, workload):
        result = self.once(proxy, workload, workload.rate)
        if workload.rate and not workload.met:
            # The same without the limit, right after it: what it costs.
            plain = self.once(proxy, workload, None)
            result |= {"cost": result["cpu_us"] / plain["cpu_us"], "noise": max(result["noise"], plain["noise"])}
        return result

    def once(self, proxy, workload, rate):
        pinned = workload.pinned
        workers, threads = (1, 1) if pinned else (self.options.workers, min(2, len(self.cpus)))
        cpu, other_cpu = (self.cpus[0], self.cpus[1]) if pinned else (None, None)
        ports = [free_port() for _ in range(3)]
        tls = tls_client() if workload.tls else None
        running = []
        try:
            # --leave-open: else the relay, which looks at nothing, could keep no connection under `close`.
            command = [self.backend, "--leave-open", "--threads", str(threads), *map(str, ports)]
            backend = self.start("backend", command, ports, other_cpu, running)
            port = free_port()
            values = {"dir": self.dir, "port": port, "workers": workers, "certificate": self.certificate,
                      **dict(zip(("b1", "b2", "b3"), ports))}
            started = self.start(proxy.name, proxy.prepare(values, workload.tls, rate), [port], cpu, running, tls)
            if workload.memory:
                return self.memory(started, port, tls)
            if workload.slow:
                return self.slow(started, port, workload.slow)
            return self.window(started, backend, port, workload, threads, other_cpu)
        finally:
            for process in reversed(running):
                process.stop()

    def start(self, name, command, ports, cpu, running, tls=None):
        """Starts a server and waits until each of its ports has answered a request rightly."""
        process = Process(command, os.path.join(self.dir, name + ".log"), cpu)
        running.append(process)
        end = time.monotonic() + 10
        for port in ports:
            while not answers(port, tls):
                if process.child.poll() is not None or time.monotonic() > end:
                    raise Failed(f"{name} does not serve; it said: {process.said() or 'nothing'}")
                time.sleep(0.05)
        return process

    def window(self, proxy, backend, port, workload, threads, cpu):
        if workload.met:
            time.sleep(2)  # no warm-up: the burst is part of what is measured, and what asked whether it serves is not
        else:
            self.generate(port, workload, threads, self.options.warmup, cpu)

        def clocks():
            return time.monotonic(), proxy.cpu(), backend.cpu(), own_cpu(), *machine()

        before = clocks()
        load = self.generate(port, workload, threads, self.options.seconds, cpu)
        elapsed, cpu_proxy, cpu_backend, cpu_own, busy, stolen = (b - a for a, b in zip(before, clocks()))
        if not load["requests"]:
            raise Failed(f"no request was answered; it said: {proxy.said()}")
        result = {
            "cpu_us": cpu_proxy / load["requests"] * 1e6,
            "rps": load["requests"] / (load["us"] / 1e6),
            "p50_us": load["p50"],
            "p99_us": load["p99"],
            "requests": load["requests"],
            "errors": load["errors"],
            "noise": max(0, busy - cpu_proxy - cpu_backend - cpu_own, stolen) / elapsed,  # cores
        }
        if workload.met:
            # Errors are those that were refused. As many as a second's worth may come at once, and the rate from then on.
            allowed = workload.rate * (1 + load["us"] / 1e6)
            result |= {"let_in": (load["requests"] - load["errors"]) / allowed, "errors": 0}
        return result

    def generate(self, port, workload, threads, seconds, cpu):
        command = self.generators.command(workload, port, threads, seconds)
        name = workload.generator
        pin = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, preexec_fn=pin,
                                  env=self.generators.environment(), timeout=seconds + 60)
        except subprocess.TimeoutExpired:
            raise Failed(f"{name} did not come to an end") from None
        figures = self.generators.figures(workload, done.stdout, seconds)
        if figures is None:
            raise Failed(f"{name}: {(done.stdout + done.stderr).strip()[-500:]}")
        return figures

    def slow(self, proxy, port, connections):
        pids = [word for pid, _ in proxy.members() for word in ("--pid", str(pid))]
        command = [self.slowloris, f"127.0.0.1:{port}", "--connections", str(connections), *pids]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
            said = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise Failed(f"slowloris: {error}") from None
        during = said["during"]
        return {"kept_ratio": said["p99_ratio"]["kept"], "fresh_ratio": said["p99_ratio"]["fresh"],
                "p99_us": during["kept"]["p99_us"], "fresh_p99_us": during["fresh"]["p99_us"],
                "held": said["slow"]["open"], "connection_b": said["bytes_per_connection"] or 0,
                "errors": during["kept"]["errors"] + during["fresh"]["errors"] + said["opening"]["kept"]["errors"]
                + said["opening"]["fresh"]["errors"], "noise": 0.0}

    def memory(self, proxy, port, tls):
        time.sleep(1)
        idle_rss, idle_pss = proxy.memory()
        kept, errors = [], 0
        wanted = self.options.connections
        try:
            while len(kept) + errors < wanted:
                # A few at a time, so that few connections to backends are made: those are not what is measured.
                batch = [connect(port, tls) for _ in range(min(50, wanted - len(kept) - errors))]
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

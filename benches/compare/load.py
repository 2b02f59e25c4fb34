"""The load generators: each as a command line, and what it says as the same figures."""
import json
import os
import re
import sys

from proxies import find_program, first_line

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}
WRK_REPORT = """
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('JSON {"requests": %d, "us": %d, "p50": %d, "p99": %d, "errors": %d}\\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
# Every generator offers one version, one cipher and one group: all servers do the same cryptography.
OPENSSL = """
openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = client
[client]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""


class Generators:
    """Those that the workloads need; `folder` takes their files."""

    def __init__(self, names):
        self.programs = {name: find_program(name, PACKAGES[name]) for name in PACKAGES if name in names}

    def versions(self):
        flags = {"wrk": "-v", "h2load": "--version"}
        return [first_line([program, flags[name]]) for name, program in self.programs.items()]

    def prepare(self, folder):
        self.script, self.openssl = os.path.join(folder, "report.lua"), os.path.join(folder, "openssl.conf")
        self.log = os.path.join(folder, "h2load.log")
        for path, text in ((self.script, WRK_REPORT), (self.openssl, OPENSSL)):
            with open(path, "w") as file:
                file.write(text)

    def environment(self):
        return {**os.environ, "OPENSSL_CONF": self.openssl}

    def command(self, workload, port, threads, seconds):
        if workload.generator == "handshakes":
            return [sys.executable, os.path.join(HERE, "handshakes.py"),
                    *map(str, (threads, workload.connections, seconds, port))]
        # By TLS with a name, as clients have one.
        url = f"https://localhost:{port}" if workload.tls else f"http://127.0.0.1:{port}"
        if workload.generator == "h2load":
            if os.path.exists(self.log):
                os.remove(self.log)
            return [self.programs["h2load"], f"-t{threads}", f"-c{workload.connections}", f"-m{workload.streams}",
                    f"--duration={seconds}", f"--connect-to=127.0.0.1:{port}", f"--log-file={self.log}",
                    url + workload.path]
        command = [self.programs["wrk"], f"-t{threads}", f"-c{workload.connections}", f"-d{seconds}s", "--timeout",
                   "10s", "-s", self.script, url + workload.path]
        return command + ["-H", "Connection: close"] if workload.close else command

    def figures(self, workload, said, seconds):
        """None if it did not say them."""
        if workload.generator == "h2load":
            return self.h2load_figures(said, seconds)
        return next((json.loads(line[5:]) for line in said.splitlines() if line.startswith("JSON ")), None)

    def h2load_figures(self, said, seconds):
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
        if not counts or "Application protocol: h2\n" not in said:
            return None
        succeeded, failed, errored, timeout = map(int, counts.groups())
        with open(self.log) as file:  # a request a line: when it began, its status, microseconds
            times = sorted(int(line.split("\t")[2]) for line in file if line.count("\t") >= 2)
        if not times:
            return None
        return {"requests": succeeded, "us": seconds * 1e6, "p50": times[len(times) // 2],
                "p99": times[len(times) * 99 // 100], "errors": failed + errored + timeout}

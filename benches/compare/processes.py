"""Processes of the comparison: start them, see what they cost, stop them and nothing else. Linux's /proc."""
import os
import random
import resource
import signal
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A program in a session of its own, so that its children are counted, and stopped, with it."""

    def __init__(self, command, log, cpu=None):
        pin = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
        self.log = log
        with open(log, "wb") as output:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                          start_new_session=True, preexec_fn=pin)

    def members(self):
        """(pid, fields of /proc/PID/stat from the state on) of every living process of the session."""
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat") as file:
                        fields = file.read().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[3]) == self.child.pid and fields[0] != "Z":
                    yield int(entry), fields

    def cpu(self):
        """User and system seconds so far; children that were waited for included."""
        return sum(int(tick) for _, fields in self.members() for tick in fields[11:15]) / TICKS

    def memory(self):
        """Resident KiB: as the kernel counts them for each process, and with shared pages divided among the sharers."""
        total = {"Rss:": 0, "Pss:": 0}
        for pid, _ in self.members():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as file:
                    for line in file:
                        name, *value = line.split()
                        if name in total:
                            total[name] += int(value[0])
            except OSError:
                pass
        return total["Rss:"], total["Pss:"]

    def said(self):
        with open(self.log, errors="replace") as file:
            return file.read()[-1500:].strip()

    def stop(self):
        # The session's number stays ours until the child is waited for, which comes last.
        for sign, patience in ((signal.SIGTERM, 0.5), (signal.SIGKILL, 2)):
            end = time.monotonic() + patience
            living = list(self.members())
            for pid, _ in living:
                try:
                    os.kill(pid, sign)
                except ProcessLookupError:
                    pass
            while living and time.monotonic() < end:
                time.sleep(0.02)
                living = list(self.members())
            if not living:
                break
        self.child.wait()


def machine():
    """Busy and stolen CPU seconds of the whole machine so far."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in file.readline().split()[1:9])
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def own_cpu():
    """CPU seconds of this script and of the children that it has waited for (the load generator)."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def free_port():
    while True:
        port = random.randint(15000, 31000)  # below the ports that the kernel gives to outgoing connections
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

#!/usr/bin/env python3
"""The load of workload `handshake`: a new connection with a full TLS handshake for each request, N at a time.

measure.py runs it. It is not wrk or h2load, as both resume the session of the connection before. Here none is kept,
and a server that resumes one all the same is an error.

usage: handshakes.py PROCESSES CONNECTIONS SECONDS PORT
"""
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe, Process

sys.dont_write_bytecode = True

from client import connect, exchange, tls_client  # noqa: E402


def client(context, port, end):
    """One request after the other; returns the microseconds of those answered, and the number of errors."""
    times, errors = [], 0
    while (begun := time.monotonic()) < end:
        connection = connect(port, context, close=True)
        if connection is None:
            errors += 1
            time.sleep(0.01)  # so that a server that is not there costs no full core
        elif connection.session_reused or not exchange(connection):
            errors += 1
            connection.close()
        else:
            times.append((time.monotonic() - begun) * 1e6)
            connection.close()
    return times, errors


def clients(results, count, port, end):
    """A process: it ends by itself, whatever becomes of its parent."""
    context = tls_client()
    with ThreadPoolExecutor(count) as pool:  # handshakes and waiting are done without Python's lock
        done = list(pool.map(lambda _: client(context, port, end), range(count)))
    results.send(([us for times, _ in done for us in times], sum(errors for _, errors in done)))


def main():
    processes, connections, seconds, port = map(int, sys.argv[1:])
    begun = time.monotonic()
    running = []
    for _ in range(processes):
        ours, theirs = Pipe(duplex=False)
        process = Process(target=clients, args=(theirs, connections // processes, port, begun + seconds))
        process.start()
        theirs.close()  # so that a process that fails is seen
        running.append((process, ours))
    results = [ours.recv() for _, ours in running]
    for process, _ in running:
        process.join()
    times = sorted(us for some, _ in results for us in some)

    def share(part):
        return times[min(len(times) - 1, int(len(times) * part))] if times else 0

    print("JSON", json.dumps({"requests": len(times), "us": (time.monotonic() - begun) * 1e6, "p50": share(0.5),
                              "p99": share(0.99), "errors": sum(errors for _, errors in results)}))


if __name__ == "__main__":
    main()

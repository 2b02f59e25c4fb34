"""The tables, in markdown: medians of rounds; ratios are of the same round, then their median."""
from statistics import median

PEERS = ("relay", "nginx", "haproxy")
SUBJECT = "evenkeel"


def ratios(rounds, name, peer, key):
    """Of every round in which both were measured, and the peer's figure is not zero."""
    both = [(one[name], one[peer]) for one in rounds if one.get(name) and one.get(peer)]
    return [mine[key] / theirs[key] for mine, theirs in both if theirs[key]]


def ratio(rounds, name, peer, key, span=False):
    found = ratios(rounds, name, peer, key)
    if not found or name == peer:
        return "-"
    text = f"{median(found):.2f}"
    return f"{text} ({min(found):.2f}..{max(found):.2f})" if span and len(found) > 1 else text


def figure(rounds, name, key, scale=1):
    return number(median(one[name][key] / scale for one in rounds if one.get(name)))


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def errors(rounds, name):
    return str(sum(one[name]["errors"] for one in rounds if one.get(name)))


def table(head, rows):
    lines = [head, [":--"] + ["--:"] * (len(head) - 1), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)


def measured(rounds, names):
    return [name for name in names if any(one.get(name) for one in rounds)]


def limit_table(rounds, names, workload):
    if workload.met:
        head = ["proxy", "let in ÷ allowed", "least", "most", "CPU µs/request, refused ones included"]
        found = {name: [one[name]["let_in"] for one in rounds if one.get(name)] for name in names}
        return table(head, [[name, *(f"{value:.3f}" for value in (median(of), min(of), max(of))),
                             figure(rounds, name, "cpu_us")] for name, of in found.items()])
    peers = [peer for peer in measured(rounds, PEERS) if peer != "relay"]
    head = ["proxy", "CPU µs/request", *(f"÷ {peer}" for peer in peers), "CPU ÷ the same without the limit", "errors"]
    costs = {name: [one[name]["cost"] for one in rounds if one.get(name)] for name in names}
    return table(head, [[name, figure(rounds, name, "cpu_us"),
                         *(ratio(rounds, name, peer, "cpu_us", span=True) for peer in peers),
                         f"{median(costs[name]):.3f} ({min(costs[name]):.2f}..{max(costs[name]):.2f})",
                         errors(rounds, name)] for name in names])


def slow_table(rounds, names):
    head = ["proxy", "p99 of others ÷ before, kept connections", "fresh ones", "p99 µs, kept", "fresh", "errors of others",
            "slow ones held", "B per slow connection"]
    return table(head, [[name, *(f"{median(one[name][key] for one in rounds if one.get(name)):.2f}"
                                 for key in ("kept_ratio", "fresh_ratio")),
                         *(figure(rounds, name, key) for key in ("p99_us", "fresh_p99_us")), errors(rounds, name),
                         *(figure(rounds, name, key) for key in ("held", "connection_b"))] for name in names])


def workload_table(rounds, names, connections, workload):
    names, memory = measured(rounds, names), workload.memory
    if workload.slow:
        return slow_table(rounds, names)
    if workload.rate:
        return limit_table(rounds, names, workload)
    if memory:
        head = ["proxy", "idle, MiB", "idle, shared pages divided, MiB", f"KiB per kept connection ({connections:,})",
                "errors"]
        return table(head, [[name, figure(rounds, name, "idle_rss_kib", 1024),
                             figure(rounds, name, "idle_pss_kib", 1024), figure(rounds, name, "connection_kib"),
                             errors(rounds, name)] for name in names])
    peers = measured(rounds, PEERS)
    head = ["proxy", "CPU µs/request", *(f"÷ {peer}" for peer in peers), "requests/s", "p50 µs", "p99 µs", "errors"]
    return table(head, [[name, figure(rounds, name, "cpu_us"),
                         *(ratio(rounds, name, peer, "cpu_us", span=True) for peer in peers),
                         figure(rounds, name, "rps"), figure(rounds, name, "p50_us"), figure(rounds, name, "p99_us"),
                         errors(rounds, name)] for name in names])


def summary(results, workloads):
    """evenkeel against the rest, a line a workload: the table of config/SPEED.md."""
    peers = [peer for peer in PEERS if any(measured(rounds, [peer]) for rounds in results.values())]
    servers = [peer for peer in peers if peer != "relay"]
    head = ["evenkeel", *(f"CPU ÷ {peer}" for peer in peers), *(f"requests/s ÷ {peer}" for peer in servers),
            *(f"p99 ÷ {peer}" for peer in servers)]
    columns = [(peer, "cpu_us") for peer in peers] + [(peer, "rps") for peer in servers]
    columns += [(peer, "p99_us") for peer in servers]
    rows = [[workloads[name].title, *(ratio(rounds, SUBJECT, peer, key) for peer, key in columns)]
            for name, rounds in results.items()
            if workloads[name].generator and not workloads[name].met and measured(rounds, [SUBJECT])]
    return table(head, rows) if rows and peers else ""


def report(heading, results, workloads, options):
    """`results`: name of a workload -> rounds, each {name of a proxy: figures}."""
    text = [heading]
    short = summary(results, workloads)
    if short:
        text += ["## Ratios (less is better, but for requests/s)", short]
    for name, rounds in results.items():
        text += [f"## {name}: {workloads[name].title}",
                 workload_table(rounds, options.proxies, options.connections, workloads[name])]
        runs = [run for one in rounds for run in one.values()]
        disturbed = sum(run["noise"] > options.noise for run in runs)
        if disturbed:
            text.append(f"{disturbed} of {len(runs)} runs stayed disturbed (other programs or steal took up to "
                        f"{max(run['noise'] for run in runs):.0%} of a core): do not trust these figures.")
    return "\n\n".join(text)

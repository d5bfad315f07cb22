#!/usr/bin/env python3
"""Makes the README's table of what ops/bench/all measured: table.py FOLDER CALM_SECONDS BUSY_SECONDS"""
import json
import os
import sys

folder, calm, busy = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def read(name):
    path = f"{folder}/{name}.json"
    return json.load(open(path)) if os.path.exists(path) else None


def spread(report, value, digits=0):
    """The median of the runs, and their range."""
    values = sorted(value(run) for run in report["repeats"])
    text = f"{values[(len(values) - 1) // 2]:,.{digits}f}"
    return text if len(values) == 1 else f"{text} ({values[0]:,.{digits}f}–{values[-1]:,.{digits}f})"


rows = []
broker = read("broker")
if broker:
    rows.append(("broker alone, tasks a second", f"{broker['tasks_per_s']:,.0f}; {broker['broker_cpu_us_per_task']:.0f} µs of a core each"))
wire = read("wire") or {"transports": [], "relays": []}
for entry in wire["transports"]:
    size = f"{entry['bytes']:,} bytes, {entry['transport']}"
    rows.append((f"messages of {size}, a second: Weir's sockets, libzmq", f"{entry['weir_per_s']:,.0f}, {entry['plain_per_s']:,.0f}"))
    rows.append((f"their latency, µs: Weir's sockets, libzmq", f"{entry['weir_latency_us']:.1f}, {entry['plain_latency_us']:.1f}"))
for entry in wire["relays"]:
    size = f"{entry['bytes'] / 1024:.0f} KiB"
    share = entry["broker_in_memory_per_s"] / entry["proxy_per_s"]
    rows.append((f"tensors of {size} handed on, a second: broker with journal and drafts in memory, `zmq_proxy` over TCP",
                 f"{entry['broker_in_memory_per_s']:,.0f}, {entry['proxy_per_s']:,.0f} ({share:.0%})"))
    share = entry["broker_on_disk_per_s"] / entry["sqlite_per_s"]
    rows.append((f"the same, a second: broker with everything on the disk, what SQLite alone writes",
                 f"{entry['broker_on_disk_per_s']:,.0f}, {entry['sqlite_per_s']:,.0f} ({share:.0%})"))
for name, text in [("pipeline", "stages of 10, 20 and 40 ms, workers in proportion"), ("pipeline-5ms", "the same, 5 ms away from the broker")]:
    report = read(name)
    if report:
        rows.append((f"pipeline efficiency, {text}", spread(report, lambda run: 100 * run["efficiency"], 1) + " %"))
for name, text in [("added", "evenly spaced jobs, 5 workers a stage"), ("added-poisson", "Poisson arrivals, 16 workers a stage")]:
    report = read(name)
    if report:
        rows.append((f"a stage adds to its one step, with a commit to the disk, at 50 % load, {text}, ms: p50, p99",
                     spread(report, lambda run: run["hop_ms"]["p50"], 1) + ", " + spread(report, lambda run: run["hop_ms"]["p99"], 1)))
for percent in (50, 70):
    step, request = read(f"step-{percent}"), read(f"request-{percent}")
    if step and request:
        both = [spread(report, lambda run: run["latency_ms"]["p50"]) for report in (step, request)]
        rows.append((f"Poisson arrivals, {percent} % of what three stages of 8 slots and 20 steps can do, if a step takes 10 ms whatever the batch: "
                     "median ms of joining at every step, of batches filled once", ", ".join(both)))
ramp = read("ramp")
if ramp and ramp.get("knee_per_s"):
    rows.append(("capacity of one worker a stage, 5 ms a step, jobs a second", f"{ramp['knee_per_s']:.1f}"))
for percent in (25, 50, 75, 90):
    report = read(f"load-{percent}")
    if report:
        text = spread(report, lambda run: run["latency_ms"]["p50"]) + ", " + spread(report, lambda run: run["latency_ms"]["p99"])
        rows.append((f"latency at {percent} % of it, ms: p50, p99 (alone: {report['kinds'][0]['solo_ms']:.0f})", text))
report = read("overload")
if report:
    seconds = report["timeline"]
    during = [entry for entry in seconds if calm <= entry["second"] < calm + busy]
    solo = report["kinds"][0]["solo_ms"]
    images = sum(entry["images"] for entry in during) / max(1, len(during))
    refused = report["jobs"]["refused"]
    rows.append((f"at twice the capacity for {busy} s: images a second, jobs refused, of them told when to try again",
                 f"{images:.1f}, {refused}, {report['jobs']['refused_with_retry_after']}"))
    rows.append(("… latency of what was taken, ms: p50, p99", f"{report['latency_ms']['p50']:.0f}, {report['latency_ms']['p99']:.0f}"))
    memory = [entry["broker_mib"] for entry in during if entry.get("broker_mib")]
    if memory:
        rows.append(("… the broker's memory at its beginning and end, MiB", f"{memory[0]:.0f}, {memory[-1]:.0f}"))
    after = [entry for entry in seconds if entry["second"] >= calm + busy and entry.get("p99_ms")]
    well = next((entry["second"] - calm - busy for entry in after if entry["p99_ms"] <= 3 * solo and not entry["refused"]), None)
    rows.append(("… seconds until p99 is below three times alone again", "–" if well is None else str(well)))

machine = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "an unknown processor")
print(f"`ops/bench/all` on {len(os.sched_getaffinity(0))} cores of {machine}; medians of several runs have their range behind them.\n")
print("| | |\n|---|---|")
for name, value in rows:
    print(f"| {name} | {value} |")
print()

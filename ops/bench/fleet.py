#!/usr/bin/env python3
"""Makes a JSON file and a table (on standard output) of what ops/bench/fleet measured: fleet.py FOLDER JSON"""
import glob
import json
import os
import re
import statistics
import sys

folder, path = sys.argv[1], sys.argv[2]


def read(name):
    with open(f"{folder}/{name}.json") as file:
        return json.load(file)


def rounds(kind):
    names = (os.path.basename(name)[:-5] for name in glob.glob(f"{folder}/{kind}-*.json"))
    return [read(name) for name in sorted(names, key=lambda name: int(name.rsplit("-", 1)[1]))]


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def text(values, digits=1):
    return f"{values['median']:.{digits}f} ({values['least']:.{digits}f}–{values['most']:.{digits}f})"


def slots(name):
    counts = {}
    for worker in sorted(read(name)["workers"], key=lambda worker: (worker["name"], worker["stage"])):
        counts.setdefault(worker["name"], {})[worker["stage"]] = worker["slots"]
    return counts


serial = [60 * len(run["images"]) / sum(image["seconds"] for image in run["images"]) for run in rounds("serial")]
fleet = [60 * run["steady_per_s"] for run in rounds("saturated")]
result = {
    "slots": slots("workers"),
    "serial_per_min": spread(serial),
    "fleet_per_min": spread(fleet),
    "ratio": spread([one / other for one, other in zip(fleet, serial)]),
    "load": [],
    "memory": [],
}

for percent in sorted({int(re.search(r"(\d+)\.json$", name)[1]) for name in glob.glob(f"{folder}/step-*.json")}):
    line = {"percent": percent}
    for batching in ("step", "request"):
        run = read(f"{batching}-{percent}")
        if run["jobs"]["done"] != run["jobs"]["submitted"]:
            sys.exit(f"{folder}/{batching}-{percent}.json: of {run['jobs']['submitted']} jobs {run['jobs']['done']} were done")
        line[batching] = {
            "p50_s": run["latency_ms"]["p50"] / 1000, "p99_s": run["latency_ms"]["p99"] / 1000,
            "jobs": run["latency_ms"]["count"], "slots": slots(f"workers-{batching}-{percent}"),
        }
    line["median_lower_by"] = 1 - line["step"]["p50_s"] / line["request"]["p50_s"]
    result["load"].append(line)

with open(f"{folder}/memory.jsonl") as file:
    samples = [json.loads(line) for line in file]
for worker in sorted({sample["worker"] for sample in samples}):
    own = [sample for sample in samples if sample["worker"] == worker]
    if len({sample["pid"] for sample in own}) > 1:
        sys.exit(f"{folder}/memory.jsonl: {worker} was started anew meanwhile")
    mib = [sample["kib"] / 1024 for sample in own]
    tasks = [sample["tasks"] for sample in own]
    result["memory"].append({"worker": worker, "tasks": tasks, "resident_mib": mib, "growth": mib[-1] / mib[0] - 1})

with open(path, "w") as file:
    json.dump(result, file, indent=2)

machine = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "an unknown processor")
each = "; ".join(f"{name} has " + ", ".join(f"{count} of {stage}" for stage, count in stages.items()) for name, stages in result["slots"].items())
print(f"`ops/bench/fleet` on {len(os.sched_getaffinity(0))} cores of {machine}; slots: {each}. Medians have the range of the rounds behind them.\n")
print("| images a minute | |\n|---|---|")
print(f"| the serial reference, all cores | {text(result['serial_per_min'])} |")
print(f"| the fleet, saturated | {text(result['fleet_per_min'])} |")
print(f"| the one by the other, of each round | {text(result['ratio'], 2)} |")
print("\n| Poisson arrivals, % of that | joining at every step, s: p50, p99 | batches filled once, s: p50, p99 | median lower by |\n|---|---|---|---|")
for line in result["load"]:
    cells = [f"{line[batching]['p50_s']:.2f}, {line[batching]['p99_s']:.2f}" for batching in ("step", "request")]
    # A profile that was disturbed is measured anew at the next start, and may come out otherwise.
    note = "" if line["step"]["slots"] == line["request"]["slots"] else ", with other slots: compare them not"
    print(f"| {line['percent']} | {cells[0]} | {cells[1]} | {100 * line['median_lower_by']:.0f} %{note} |")
first, last = result["memory"][0]["tasks"][0], result["memory"][0]["tasks"][-1]
print(f"\n| resident memory | after {first} tasks, MiB | after {last:,} | |\n|---|---|---|---|")
for line in result["memory"]:
    print(f"| {line['worker']} | {line['resident_mib'][0]:.0f} | {line['resident_mib'][-1]:.0f} | {100 * line['growth']:+.1f} % |")

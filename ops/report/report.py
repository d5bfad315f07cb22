#!/usr/bin/env python3
"""Makes the tables and plots of what ops/report/run measured: report.py OUT PIPELINE

The tables go into PIPELINE/REPORT.md between their markers, the plots into PIPELINE/report. The same results give the same bytes."""
import json
import os
import re
import statistics
import sys

import matplotlib
import numpy

matplotlib.use("svg")
import matplotlib.pyplot as plt

out, pipeline = sys.argv[1], sys.argv[2]
SEED = 1000000
matplotlib.rcParams.update({
    "svg.fonttype": "none", "svg.hashsalt": "weir", "font.size": 10, "figure.figsize": (6.4, 3.4), "figure.constrained_layout.use": True,
    "axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False,
})


def sweep(name, stage):
    """The lines of a sweep, their setting's values beside the others."""
    path = f"{out}/sweeps/{name}-{stage}/sweep.jsonl"
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    return [{**line, **line.pop("setting")} for line in lines]


def value(lines, key="kid", seed=SEED, **wanted):
    """Of the one line that is wanted."""
    found = [line[key] for line in lines if line["seed"] == seed and all(line.get(name) == other for name, other in wanted.items())]
    if len(found) != 1:
        sys.exit(f"{len(found)} results of {wanted}: has the shipped cascade changed since? Remove {out}/sweeps and run ops/report/run again")
    return found[0]


def evaluation(name):
    with open(f"{out}/eval/{name}.json") as file:
        return json.load(file)


def seconds(run):
    """Of processor time."""
    with open(f"{out}/runs/{run}/seconds") as file:
        return sum(float(number) for number in file.read().split())


def features(name):
    """Of a file of weir-lab features, the array that metrics are made of."""
    with open(f"{out}/eval/{name}.safetensors", "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(length))["features"]
        begin, end = head["data_offsets"]
        file.seek(8 + length + begin)
        return numpy.frombuffer(file.read(end - begin), "<f4").reshape(head["shape"]).astype(float)


def kid(real, generated):
    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a):
        values = kernel(a, a)
        return (values.sum() - values.trace()) / (len(a) * (len(a) - 1))

    return within(real) + within(generated) - 2 * kernel(real, generated).mean()


def chance(real, generated):
    """The KID, and its standard deviation over other samples: that of random halves of these is, to first order, as large."""
    random = numpy.random.default_rng(0)
    halves = [kid(real, generated[random.permutation(len(generated))[: len(generated) // 2]]) for _ in range(200)]
    return f"{kid(real, generated):.4f}", f"{numpy.std(halves):.4f}"


def spread(values):
    return f"{statistics.mean(values):.4f} ({min(values):.4f}–{max(values):.4f})"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot(name, x, y, series, logx=False, ticks=None):
    """Series: (name, {x: [values]}, how it is drawn). A line through the means, a dot a value."""
    figure, axes = plt.subplots()
    for index, (label, points, style) in enumerate(series):
        colour = f"C{index}"
        xs = sorted(points)
        axes.plot(xs, [statistics.mean(points[at]) for at in xs], style, color=colour, label=label)
        if any(len(values) > 1 for values in points.values()):
            axes.plot([at for at in xs for _ in points[at]], [one for at in xs for one in points[at]], ".", color=colour, alpha=0.5)
    if logx:
        axes.set_xscale("log")
    if ticks:
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small")
    save(figure, name)


def bars(name, y, groups, series):
    """Series: (name, [value of the first group, …])."""
    figure, axes = plt.subplots()
    width = 0.8 / len(series)
    for index, (label, values) in enumerate(series):
        places = [place + (index - (len(series) - 1) / 2) * width for place in range(len(groups))]
        axes.bar(places, values, width * 0.92, label=label, color=f"C{index}", alpha=0.75)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel(y)
    axes.grid(axis="x", visible=False)
    if len(series) > 1:
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small")
    save(figure, name)


def save(figure, name):
    os.makedirs(f"{pipeline}/report", exist_ok=True)
    figure.savefig(f"{pipeline}/report/{name}.svg", metadata={"Date": None})
    plt.close(figure)


tables = {}

LEVELS = (0, 50, 100, 200, 400)


def arm(name, inputs, levels):
    """Of the networks of all seeds: {s: [KID, …]}."""
    return {s: [value(sweep(f"{name}-{seed}", "sr64"), inputs=inputs, aug=s) for seed in (1, 2, 3)] for s in levels}


# (b) Conditioning augmentation: what each kind of sr64 makes of each kind of input.
KINDS = [
    ("augmented, inputs of the brief base32", arm("weak-aug", "generated", (0, 200)), "-"),
    ("plain, inputs of the brief base32", arm("weak-plain", "generated", (0,)), "s"),
    ("augmented, inputs of the shipped base32", arm("aug", "generated", LEVELS), "-"),
    ("plain, inputs of the shipped base32", arm("plain", "generated", (0,)), "s"),
    ("augmented, real inputs", arm("aug", "real", (0, 200)), "-"),
    ("plain, real inputs", arm("plain", "real", (0,)), "s"),
]
tables["b"] = table(["sr64", *(f"s = {s}" for s in LEVELS)], [
    [name, *(spread(points[s]) if s in points else "" for s in LEVELS)] for name, points, _ in KINDS
])
plot("augmentation", "s in sampling", "KID at 64×64", KINDS)

# (a) A cascade and a single model; the cascade's sr64 are the first of (b).
models = [
    *((f"single model, {steps} steps", seconds("single"), value(sweep("single", "single64"), steps=steps)) for steps in (8, 20)),
    *((f"cascade, {text}", seconds("weak") + seconds(f"{kind}-1"), value(sweep(f"weak-{kind}-1", "sr64"), aug=s))
      for text, kind, s in (("plain", "plain", 0), ("augmented, s = 0", "aug", 0), ("augmented, s = 200", "aug", 200))),
]
tables["a"] = table(["", "training, s of processor time", "KID at 64×64"], [[text, f"{time:.0f}", f"{kid:.4f}"] for text, time, kid in models])
bars("cascade", "KID at 64×64", [text.replace(", ", ",\n") for text, _, _ in models], [("", [kid for *_, kid in models])])

# (c) Truncation, with the first of the augmented networks.
own = {s: value(sweep("aug-1", "sr64"), inputs="generated", aug=s) for s in LEVELS[1:]}
truncated = {s: evaluation(f"truncated-{s}")["kid"] for s in own}
tables["c"] = table(["", *(f"s = {s}" for s in own)], [
    ["base32 to its end, then noise", *(f"{kid:.4f}" for kid in own.values())],
    ["base32 truncated at s", *(f"{kid:.4f}" for kid in truncated.values())],
])
plot("truncation", "s in sampling", "KID at 64×64", [
    (name, {s: [kid] for s, kid in points.items()}, style)
    for name, points, style in (("base32 to its end, then noise", own, ".-"), ("base32 truncated at s", truncated, ".--"))
])

# (d) Blur.
blur = {name: {inputs: sweep(name, "sr256") for inputs in ("generated", "real")} for name in ("blur", "no-blur")}


def blurred(name, key, inputs):
    return value(blur[name][inputs], key, inputs=inputs)


tables["d"] = table(["sr256's training", "KID, generated inputs", "KID, real inputs", "PSNR, dB, real inputs"], [
    [text, f"{blurred(name, 'kid', 'generated'):.4f}", f"{blurred(name, 'kid', 'real'):.4f}", f"{blurred(name, 'psnr', 'real'):.2f}"]
    for name, text in (("no-blur", "without blur"), ("blur", "blur, σ of 0.4 to 0.6, half of the examples"))
])
bars("blur", "KID at 256×256", ["generated inputs", "real inputs"], [
    (text, [blurred(name, "kid", inputs) for inputs in ("generated", "real")]) for name, text in (("no-blur", "without blur"), ("blur", "with blur"))
])

# (e) The classification accuracy score.
generated, real = evaluation("generated"), evaluation("real")
score = generated["classification"]
tables["e"] = table(["learnt from", "top-1", "top-5", "KID of these images"], [
    [f"{part['images']} {name}", f"{100 * part['top1']:.1f} %", f"{100 * part['top5']:.1f} %", f"{kid:.4f}"]
    for name, part, kid in (("generated images", score["generated"], generated["kid"]), ("training images", score["real"], real["kid"]))
])
bars("accuracy", "accuracy on 300 real images, %", ["top-1", "top-5"], [
    (name, [100 * part["top1"], 100 * part["top5"]])
    for name, part in (("learnt from generated images", score["generated"]), ("learnt from training images", score["real"]))
])

# (f) Samplers and steps, of the shipped cascade.
NAMES = {"ddpm": "DDPM", "ddim": "DDIM", "dpm++2m": "DPM-Solver++(2M)", "unipc": "UniPC"}
STYLES = {"ddpm": "o-", "ddim": "s-", "dpm++2m": "+-", "unipc": "x-"}
for stage, count in (("base32", 120), ("sr64", 120), ("sr256", 24)):
    lines = [line for line in sweep("unsmoothed", stage) if line["count"] == count and line["aug"] == 0]
    curves = {name: {line["steps"]: [line["kid"]] for line in lines if line["sampler"] == name and line["seed"] == SEED} for name in NAMES}
    steps = sorted({at for points in curves.values() for at in points})
    tables[f"f {stage}"] = table([stage, *map(str, steps)], [
        [NAMES[name], *(f"{points[at][0]:.4f}" if at in points else "" for at in steps)] for name, points in curves.items()
    ])
    plot(f"steps-{stage}", "steps", f"KID of {count} samples", [(NAMES[name], points, STYLES[name]) for name, points in curves.items()], logx=True, ticks=steps)

tables["chance"] = table(["images", "side", "KID", "standard deviation"], [
    [text, str(side), *chance(features(real), features(images))] for text, side, real, images in (
        ("60 of an augmented network of (b), s = 50", 64, "reference-64", "50"),
        ("120 of the shipped cascade", 256, "reference", "images"),
        ("120 training images", 256, "reference", "training"),
    )
])

path = f"{pipeline}/REPORT.md"
with open(path) as file:
    text = file.read()
for name, content in tables.items():
    text, count = re.subn(f"(<!-- table {name} -->\n).*?(<!-- to here -->)", lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{path}: {count} markers <!-- table {name} -->")
with open(path, "w") as file:
    file.write(text)

"""Times a pipeline's networks in PyTorch eager and in weir-lab, by turns. Started by ops/bench/pytorch, which says what is compared."""
import argparse
import copy
import inspect
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch

root = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root / "ops/reference"))
from make_goldens import write  # noqa: E402
from unet import UNet  # noqa: E402


def read(path):
    """The tensors of a safetensors file."""
    data = pathlib.Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    types = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I64": torch.int64}
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            piece = bytearray(data[8 + length + first:8 + length + last])
            tensors[name] = torch.frombuffer(piece, dtype=types[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def processor():
    """Its name and instruction sets."""
    fields = dict.fromkeys(("model name", "flags"), "")
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in fields and not fields[key.strip()]:
            fields[key.strip()] = value.strip()
    return fields["model name"], set(fields["flags"].split())


class Stage:
    """A stage's network in PyTorch, and what goes into it."""

    def __init__(self, folder, stage, below):
        self.name, self.flags = stage["name"], stage["network"]
        self.weights, self.side, self.below = folder / stage["weights"], stage["resolution"], below
        known = inspect.signature(UNet.__init__).parameters
        unknown = {k for k in self.flags if k not in known} - {"learn_sigma"}
        if unknown:
            sys.exit(f"ops/bench/pytorch: stage {self.name} has flags that ops/reference/unet.py lacks: {', '.join(sorted(unknown))}")
        flags = {k: v for k, v in self.flags.items() if k in known}
        flags["out_channels"] = 6 if self.flags.get("learn_sigma") else flags.get("out_channels", 3)
        self.network = UNet(**flags).eval()
        self.network.load_state_dict({k: v.float() for k, v in read(self.weights).items()})
        self.last = UNet(**flags).eval()
        self.last.load_state_dict(self.network.state_dict())
        self.last.to(memory_format=torch.channels_last)

    def inputs(self, batch, side=None):
        side = side or self.side
        generator = torch.Generator().manual_seed(batch)
        inputs = {"x": torch.randn(batch, 3, side, side, generator=generator), "t": torch.rand(batch, generator=generator) * 999}
        if self.flags.get("num_classes") is not None:
            inputs["y"] = torch.randint(self.flags["num_classes"], (batch,), generator=generator)
        if self.flags.get("super_resolution"):
            below = self.below * side // self.side
            inputs["low_res"] = torch.rand(batch, 3, below, below, generator=generator) * 2 - 1
        if self.flags.get("aug_levels"):
            inputs["s"] = torch.rand(batch, generator=generator) * 600
        return inputs

    def run(self, kind, inputs):
        network = self.network if kind == "f32" else self.last
        if kind != "f32":
            inputs = dict(inputs, x=inputs["x"].contiguous(memory_format=torch.channels_last))
        arguments = [inputs.get(name) for name in ("x", "t", "y", "low_res", "s")]
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "bf16_autocast_channels_last"):
            return network(*arguments)

    def check(self, lab):
        """Ends the program unless weir-lab gives PyTorch's output."""
        inputs = self.inputs(2)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "model.json").write_text(json.dumps(self.flags))
            write(folder / "in.safetensors", inputs, {})
            subprocess.run(
                [lab, "forward", "--model", folder / "model.json", "--weights", self.weights, "--in", folder / "in.safetensors",
                 "--out", folder / "out.safetensors"], check=True)
            ours = read(folder / "out.safetensors")["out"]
        theirs = self.run("f32", inputs)
        difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        if not difference < 1e-3:
            sys.exit(f"ops/bench/pytorch: stage {self.name}: the outputs differ by {difference:.2g} of the largest value; not the same network")
        return difference


def measure_torch(stage, kind, batch, repeats):
    """Milliseconds a step, the median."""
    inputs, times = stage.inputs(batch), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        stage.run(kind, inputs)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[1:])


class Training:
    """A stage's training in PyTorch eager, channels-last: AdamW, clipping and a moving average, as weir-lab train has them by default."""

    # Of the windows that a stage above it is trained on, by default.
    largest_side = 64

    def __init__(self, stage, kind):
        self.autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "bf16_autocast_channels_last")
        self.side = min(stage.side, self.largest_side)
        self.stage, self.network = stage, copy.deepcopy(stage.last).train()
        self.average = [parameter.detach().clone() for parameter in self.network.parameters()]
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-6)

    def step(self, inputs):
        arguments = [inputs.get(name) for name in ("x", "t", "y", "low_res", "s")]
        self.optimizer.zero_grad()
        with self.autocast:
            output = self.network(*arguments)
        loss = torch.nn.functional.mse_loss(output[:, :3].float(), inputs["x"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [parameter.detach() for parameter in self.network.parameters()], 0.001)
        return loss.item()

    def measure(self, batch, steps):
        """Examples a second, by the median step."""
        inputs = self.stage.inputs(batch, self.side)
        inputs["x"] = inputs["x"].contiguous(memory_format=torch.channels_last)
        times = []
        for _ in range(steps + 2):
            start = time.perf_counter()
            self.step(inputs)
            times.append(time.perf_counter() - start)
        return batch / statistics.median(times[2:])


def train_weir(lab, pipeline, stage, dtype, data, batch, threads, folder):
    """Examples a second of weir-lab train, without its first steps; the run's images, once read, stay in `folder`."""
    # metrics.jsonl gets a line every twenty steps.
    for old in folder.glob("*"):
        if old.suffix != ".cache":
            old.unlink()
    subprocess.run(
        [lab, "train", "--pipeline", pipeline, "--stage", stage.name, "--data", data, "--init", stage.weights, "--out", folder, "--batch", str(batch),
         "--max-steps", "40", "--sample-every", "0", "--threads", str(threads), "--dtype", dtype], check=True, stderr=subprocess.DEVNULL)
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["samples_per_s"]


def compare_training(options, stages, batches, kinds):
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for stage in stages:
                print(f"round {number + 1} of {options.rounds}: {stage.name}", file=sys.stderr)
                run = pathlib.Path(folder) / stage.name
                run.mkdir(exist_ok=True)
                for dtype, kind in kinds.items():
                    for batch in batches:
                        rates = found.setdefault((stage.name, batch, dtype), ([], []))
                        rates[0].append(
                            train_weir(options.weir_lab, options.pipeline, stage, dtype, options.training, batch, options.threads, run))
                        rates[1].append(Training(stage, kind[-1]).measure(batch, options.repeats))
    rows = []
    print(f"{'stage':8} {'batch':>5} {'dtype':5}  examples a second: weir, PyTorch eager channels-last  times as fast")
    for (stage, batch, dtype), (ours, theirs) in found.items():
        rows.append({"stage": stage, "batch": batch, "dtype": dtype, "weir_per_s": max(ours), "pytorch_per_s": max(theirs)})
        print(f"{stage:8} {batch:5} {dtype:5} {max(ours):24.1f} {max(theirs):8.1f} {max(ours) / max(theirs):37.2f}")
    return rows


def measure_weir(lab, pipeline, stage, dtype, batches, repeats, threads):
    """weir-lab bench's row of each batch."""
    output = subprocess.run(
        [lab, "bench", "--pipeline", pipeline, "--stage", stage.name, "--batch", ",".join(map(str, batches)), "--repeats", str(repeats),
         "--threads", str(threads), "--dtype", dtype, "--json"], check=True, stdout=subprocess.PIPE).stdout
    return {row["batch"]: row for row in json.loads(output)["stages"]}


def report(options, model, fast, load, rows):
    if options.json:
        content = {"processor": model, "bf16_instructions": fast, "torch": torch.__version__, "threads": options.threads,
                   "load_before": load, "rounds": options.rounds, "repeats": options.repeats, "rows": rows}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(prog="ops/bench/pytorch", description="Steps in Weir and in PyTorch eager, on this machine, by turns.")
    parser.add_argument("--pipeline", type=pathlib.Path, default=root / "ops/pipelines/avatars", help="default: the shipped one")
    parser.add_argument("--stage", action="append", help="only this one; may be given several times")
    parser.add_argument("--batch", default="1,4,8", help="batch sizes")
    parser.add_argument("--rounds", type=int, default=3, help="how often all are taken by turns")
    parser.add_argument("--repeats", type=int, default=3, help="steps of one turn")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each of the two; default: one a core")
    parser.add_argument("--training", type=pathlib.Path, metavar="DATA", help="compare training on these images, DATA/<label>/*.png, instead")
    parser.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    parser.add_argument("--weir-lab", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    batches = [int(text) for text in options.batch.split(",")]
    torch.set_num_threads(options.threads)

    model, flags = processor()
    fast = next((name for name in ("amx_bf16", "avx512_bf16") if name in flags), None)
    kinds = {"f32": ["f32", "f32_channels_last"]}
    if fast:
        kinds["bf16"] = ["bf16_autocast_channels_last"]
    else:
        print(f"no bf16 rows: {model or 'this processor'} has neither amx_bf16 nor avx512_bf16; bf16 would only be emulated", file=sys.stderr)

    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"others compute here (load {load:.1f}): PyTorch's threads wait for each other at every operation, so that what is shown "
              "flatters Weir; repeat it on a machine at rest, or with --threads 1", file=sys.stderr)

    manifest = json.loads((options.pipeline / "cascade.json").read_text())
    sides = [0] + [stage["resolution"] for stage in manifest["stages"]]
    names = [stage["name"] for stage in manifest["stages"]]
    for name in options.stage or []:
        if name not in names:
            sys.exit(f"ops/bench/pytorch: no stage {name}; the stages are {', '.join(names)}")
    stages = [Stage(options.pipeline, stage, below) for stage, below in zip(manifest["stages"], sides)
              if not options.stage or stage["name"] in options.stage]
    for stage in stages:
        print(f"{stage.name}: outputs differ by {stage.check(options.weir_lab):.1e} of the largest value", file=sys.stderr)

    if options.training:
        rows = compare_training(options, stages, batches, kinds)
        return report(options, model, fast, load, rows)
    times, convolutions = {}, {}
    for number in range(options.rounds):
        for stage in stages:
            print(f"round {number + 1} of {options.rounds}: {stage.name}", file=sys.stderr)
            for dtype, variants in kinds.items():
                rows = measure_weir(options.weir_lab, options.pipeline, stage, dtype, batches, options.repeats, options.threads)
                for batch, row in rows.items():
                    times.setdefault((stage.name, batch, "weir_" + dtype), []).append(row["step_ms"])
                    convolutions.setdefault((stage.name, batch, dtype), []).append(row["conv_ms"])
                for kind in variants:
                    for batch in batches:
                        took = measure_torch(stage, kind, batch, options.repeats)
                        times.setdefault((stage.name, batch, kind), []).append(took)

    rows = []
    for stage in stages:
        for batch in batches:
            for dtype, variants in kinds.items():
                ours = min(times[stage.name, batch, "weir_" + dtype])
                theirs = {kind: min(times[stage.name, batch, kind]) for kind in variants}
                rows.append({
                    "stage": stage.name, "batch": batch, "dtype": dtype, "weir_ms": ours,
                    "weir_conv_ms": min(convolutions[stage.name, batch, dtype]), "pytorch_ms": theirs,
                    "times_as_fast": {kind: took / ours for kind, took in theirs.items()}})
    print(f"{'stage':8} {'batch':>5}  {'weir':14} {'ms':>8}   {'PyTorch eager':30} {'ms':>8}  times as fast")
    for row in rows:
        for kind, took in row["pytorch_ms"].items():
            print(f"{row['stage']:8} {row['batch']:5}  {row['dtype']:14} {row['weir_ms']:8.1f}   {kind:30} {took:8.1f}  "
                  f"{row['times_as_fast'][kind]:8.2f}")
    report(options, model, fast, load, rows)


if __name__ == "__main__":
    main()

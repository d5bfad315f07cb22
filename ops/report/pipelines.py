#!/usr/bin/env python3
"""Writes the cascade.json of every network of the report: pipelines.py SHIPPED OUT

They are the shipped cascade's with fewer blocks, and differ from one another in what the report compares. None smooths its images: what is compared
is what samplers make of networks."""
import copy
import json
import os
import sys

shipped, out = sys.argv[1], sys.argv[2]
with open(f"{shipped}/cascade.json") as file:
    manifest = json.load(file)
for stage in manifest["stages"]:
    stage.pop("smoothing", None)
base32, sr64, sr256 = manifest["stages"]


def small(stage, steps):
    """The same stage with one block a level, in so many steps."""
    stage = copy.deepcopy(stage)
    stage["network"]["num_res_blocks"] = 1
    stage["sampler"]["steps"] = steps
    return stage


def without_augmentation(stage):
    stage = copy.deepcopy(stage)
    stage["network"]["aug_levels"] = False
    stage["conditioning"]["augmentation"] = None
    return stage


def write(name, *stages):
    os.makedirs(f"{out}/{name}", exist_ok=True)
    with open(f"{out}/{name}/cascade.json", "w") as file:
        json.dump({"name": name, "labels": manifest["labels"], "stages": stages}, file, indent=2)


write("unsmoothed", base32, sr64, sr256)
few = copy.deepcopy(base32)
few["sampler"]["steps"] = 6
weak = small(base32, 10)
augmented = small(sr64, 8)
plain = without_augmentation(augmented)
write("weak", weak)
for seed in (1, 2, 3):
    write(f"aug-{seed}", few, augmented)
    write(f"plain-{seed}", few, plain)
    write(f"weak-aug-{seed}", weak, augmented)
    write(f"weak-plain-{seed}", weak, plain)

single = small(sr64, 20)
single.update(name="single64", weights="single64.safetensors", conditioning=None)
single["network"].update(super_resolution=False, aug_levels=False)
write("single", single)

for name, stage in (("blur", sr256), ("no-blur", without_augmentation(sr256))):
    write(name, base32, sr64, stage)

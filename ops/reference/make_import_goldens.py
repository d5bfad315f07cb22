#!/usr/bin/env python3
"""Makes the goldens of Tests/CascadeTests/Goldens: checkpoints of guided-diffusion's format with random weights, and what they sample.

    python3 ops/reference/make_import_goldens.py [--public] [FOLDER]        (needs torch; default folder: Tests/CascadeTests/Goldens)

FOLDER gets base.pt, upsampler.pt (a zip archive, and PyTorch's container before 1.6) and golden.json: each model's flags, noise to begin with, labels
and the images after ten DDIM steps, the upsampler's from the base's. --public makes the public 64x64 model and 64->256 upsampler with 32 instead of 192
channels, which is too large to keep: WEIR_IMPORT_GOLDENS=FOLDER has the tests use it.
"""
import argparse
import json
import math
import pathlib

import torch

from make_goldens import randomise
from unet import UNet

STEPS = 10

SMALL = {
    "base": "--image_size 8 --num_channels 8 --channel_mult 4,4 --num_res_blocks 1 --attention_resolutions 4 --num_head_channels 16 "
            "--class_cond True --learn_sigma True --noise_schedule cosine --resblock_updown True --use_new_attention_order True "
            "--use_scale_shift_norm True --dropout 0.1 --use_fp16 True --timestep_respacing ddim10",
    "upsampler": "--large_size 16 --small_size 8 --num_channels 8 --channel_mult 4,4 --num_res_blocks 1 --attention_resolutions 8 --num_heads 2 "
                 "--class_cond True --learn_sigma True --noise_schedule linear --resblock_updown True --use_scale_shift_norm True "
                 "--timestep_respacing ddim10",
}
PUBLIC = {
    "base": "--attention_resolutions 32,16,8 --class_cond True --diffusion_steps 1000 --dropout 0.1 --image_size 64 --learn_sigma True "
            "--noise_schedule cosine --num_channels 32 --num_head_channels 32 --num_res_blocks 3 --resblock_updown True "
            "--use_new_attention_order True --use_fp16 True --use_scale_shift_norm True --timestep_respacing ddim10",
    "upsampler": "--attention_resolutions 32,16,8 --class_cond True --diffusion_steps 1000 --large_size 256 --small_size 64 --learn_sigma True "
                 "--noise_schedule linear --num_channels 32 --num_heads 4 --num_res_blocks 2 --resblock_updown True --use_fp16 True "
                 "--use_scale_shift_norm True --timestep_respacing ddim10",
}
CLASSES = 5
DEFAULT_MULT = {64: [1, 2, 3, 4], 256: [1, 1, 2, 2, 4, 4]}


def network(text):
    """guided-diffusion's model of these flags."""
    words = text.split()
    flags = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2])}
    side = int(flags.get("large_size", flags.get("image_size", 64)))
    mult = [int(m) for m in flags["channel_mult"].split(",")] if "channel_mult" in flags else DEFAULT_MULT[side]
    return flags, UNet(
        image_size=side, model_channels=int(flags["num_channels"]), out_channels=6, num_res_blocks=int(flags["num_res_blocks"]),
        channel_mult=mult, attention_resolutions=[int(r) for r in flags["attention_resolutions"].split(",")],
        num_heads=int(flags.get("num_heads", 4)), num_head_channels=int(flags.get("num_head_channels", -1)), num_classes=CLASSES,
        use_scale_shift_norm=True, resblock_updown=True, use_new_attention_order="use_new_attention_order" in flags,
        super_resolution="large_size" in flags).eval()


def alpha_bars(kind, steps=1000):
    if kind == "linear":
        betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)
    else:
        bar = lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = torch.tensor([min(1 - bar((i + 1) / steps) / bar(i / steps), 0.999) for i in range(steps)], dtype=torch.float64)
    return torch.cumprod(1 - betas, 0)


def ddim(net, bars, x, label, low_res):
    """Ten steps of DDIM with eta 0 at the times of that program's ddim10, its estimates clipped to [-1, 1]."""
    used = list(range(0, 1000, 1000 // STEPS))
    for place in reversed(range(STEPS)):
        now, after = bars[used[place]], bars[used[place - 1]] if place else torch.tensor(1.0, dtype=torch.float64)
        with torch.no_grad():
            epsilon = net(x, torch.tensor([float(used[place])]), label, low_res, None)[:, :3].double()
        x0 = ((x.double() - (1 - now).sqrt() * epsilon) / now.sqrt()).clamp(-1, 1)
        epsilon = (x.double() - now.sqrt() * x0) / (1 - now).sqrt()
        x = (after.sqrt() * x0 + (1 - after).sqrt() * epsilon).float()
    return x


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--public", action="store_true")
    options = parser.parse_args()
    here = pathlib.Path(__file__).resolve().parent
    folder = pathlib.Path(options.folder) if options.folder else here.parents[1] / "Tests/CascadeTests/Goldens"
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(7)
    golden, below = {"classes": CLASSES, "stages": []}, None
    label = torch.tensor([3])
    for name, text in (PUBLIC if options.public else SMALL).items():
        flags, net = network(text)
        randomise(net, generator)
        side = int(flags.get("large_size", flags.get("image_size")))
        start = torch.randn(1, 3, side, side, generator=generator)
        image = ddim(net, alpha_bars(flags["noise_schedule"]), start, label, below)
        torch.save(net.state_dict(), folder / f"{name}.pt", _use_new_zipfile_serialization=name == "base")
        golden["stages"].append({"name": name, "flags": text, "start": start.flatten().tolist(), "image": image.flatten().tolist()})
        below = image
        print(f"{name}: {sum(p.numel() for p in net.parameters())} parameters, {side}x{side}, rms {image.pow(2).mean().sqrt():.3f}")
    golden["label"] = 3
    (folder / "golden.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    main()

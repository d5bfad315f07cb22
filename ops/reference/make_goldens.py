#!/usr/bin/env python3
"""Makes the goldens of Tests/UNetTests: small U-Nets with every parameter random, their inputs and their outputs.

    python3 ops/reference/make_goldens.py [FOLDER]        (needs torch; default folder: Tests/UNetTests/Goldens)

One .safetensors a network: its weights under their own names, inputs `in.x`, `in.t`, and where the network takes them `in.y`,
`in.low_res`, `in.s`, and its output `out`, all f32 but y; the network's flags are in the metadata, as JSON, under `network`.
Weights are rounded to bfloat16 and stored so: half the size, and nothing is lost, for the reference runs with the rounded ones.
"""
import json
import pathlib
import struct
import sys

import torch

from unet import UNet

BASE = dict(image_size=8, model_channels=8, channel_mult=[4, 4], num_res_blocks=1, attention_resolutions=[], num_classes=None)

# Between them: every flag both ways, fractional timesteps, batches of 1 to 3, one to three levels.
NETWORKS = {
    # Scale-shift, resblock up/down, several heads by width in the new order, labels, learned variance: the public 64x64 model's shape.
    "adm": dict(BASE, image_size=16, attention_resolutions=[16, 8], num_head_channels=8, num_classes=5, use_scale_shift_norm=True,
                resblock_updown=True, use_new_attention_order=True, out_channels=6, batch=2),
    # Improved DDPM's: added embedding, convolutions up and down, heads by number, no labels.
    "plain": dict(BASE, attention_resolutions=[4], num_heads=2, use_scale_shift_norm=False, resblock_updown=False, conv_resample=True,
                  batch=3),
    # Pooling and repetition without parameters.
    "pooled": dict(BASE, use_scale_shift_norm=True, resblock_updown=False, conv_resample=False, num_classes=3, batch=1),
    # Super-resolution with augmentation levels; several heads in the legacy order.
    "upsampler": dict(BASE, attention_resolutions=[4], num_head_channels=8, num_classes=4, super_resolution=True, aug_levels=True,
                      use_scale_shift_norm=True, resblock_updown=True, low_res=2, batch=3),
    # Super-resolution without any attention, no labels, learned variance.
    "upsampler-plain": dict(BASE, super_resolution=True, middle_attention=False, use_scale_shift_norm=False, resblock_updown=True,
                            out_channels=6, low_res=4, batch=2),
    # A fractional multiple, an odd embedding width, one level of two blocks.
    "odd": dict(BASE, image_size=4, model_channels=5, channel_mult=[6.4], num_res_blocks=2, use_scale_shift_norm=True, batch=1),
}


def write(path, tensors, metadata):
    """The safetensors format: u64 header length, JSON header padded with spaces, data."""
    header, data = {"__metadata__": metadata}, bytearray()
    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}
    # Wider elements first, so that every tensor is aligned.
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element_size()):
        start = len(data)
        data += tensor.contiguous().view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def randomise(net, generator):
    """Every parameter, so that no zeroed layer hides what is behind it; sizes that keep activations near 1."""
    for name, p in net.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() > 1:
            p.data = noise * (p[0].numel() ** -0.5 if "label_emb" not in name else 1.0)
        elif name.endswith("weight"):  # a GroupNorm's
            p.data = 1 + 0.2 * noise
        else:
            p.data = 0.2 * noise
        p.data = p.data.bfloat16().float()


def main():
    here = pathlib.Path(__file__).resolve().parent
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here.parents[1] / "Tests/UNetTests/Goldens"
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, flags) in enumerate(NETWORKS.items()):
        flags = dict(flags)
        batch, low_res = flags.pop("batch"), flags.pop("low_res", None)
        generator = torch.Generator().manual_seed(1000 + number)
        net = UNet(**flags).eval()
        randomise(net, generator)
        size = flags["image_size"]
        inputs = {"x": torch.randn(batch, 3, size, size, generator=generator), "t": torch.rand(batch, generator=generator) * 999}
        if flags["num_classes"] is not None:
            inputs["y"] = torch.randint(flags["num_classes"], (batch,), generator=generator)
        if low_res:
            inputs["low_res"] = torch.randn(batch, 3, low_res, low_res, generator=generator)
        if flags.get("aug_levels"):
            inputs["s"] = torch.rand(batch, generator=generator) * 600
        with torch.no_grad():
            out = net(*(inputs.get(name) for name in ("x", "t", "y", "low_res", "s")))
        tensors = {k: v.bfloat16() for k, v in net.state_dict().items()}
        tensors |= {f"in.{k}": v for k, v in inputs.items()} | {"out": out}
        flags = {k: v for k, v in flags.items() if v is not None}
        write(folder / f"{name}.safetensors", tensors, {"network": json.dumps(flags, sort_keys=True)})
        print(f"{name}: {sum(p.numel() for p in net.parameters())} parameters, output {tuple(out.shape)}, rms {out.pow(2).mean().sqrt():.3f}")


if __name__ == "__main__":
    main()

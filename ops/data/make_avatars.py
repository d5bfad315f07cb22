"""Draws DiceBear-CC0-12; run it through make-avatars, which brings the pinned packages.

usage: make_avatars.py OUT TRAIN_PER_CLASS TEST_PER_CLASS HASHES [--write-hashes]
"""
import hashlib
import json
import os
import struct
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.resources import files

import resvg_py
from dicebear import Avatar, Style

CLASSES = ["clay", "critters", "cutouts", "landscape", "marbles", "moods",
           "open-peeps", "pixel-art", "planets", "sprouts", "voxel-art", "voxel-bot"]  # all CC0 1.0
SIZE = 256
CHUNK = 100


def pixels(png):
    """The raw 8-bit samples of a non-interlaced PNG: the file's bytes may differ between encoders, these may not."""
    at, data, header = 8, b"", None
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + length]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    width, height, depth, colour, _, _, interlace = header
    if depth != 8 or interlace or colour not in (2, 6):
        raise ValueError(f"unexpected kind of PNG: depth {depth}, colour type {colour}, interlace {interlace}")
    n = 3 if colour == 2 else 4
    raw, stride = zlib.decompress(data), width * n
    out, before = bytearray(), bytearray(stride)
    for y in range(height):
        kind = raw[y * (stride + 1)]
        line = bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for i in range(stride):
            a = line[i - n] if i >= n else 0
            b = before[i]
            c = before[i - n] if i >= n else 0
            if kind == 1:
                line[i] = (line[i] + a) & 255
            elif kind == 2:
                line[i] = (line[i] + b) & 255
            elif kind == 3:
                line[i] = (line[i] + (a + b) // 2) & 255
            elif kind == 4:
                p = a + b - c
                pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
                line[i] = (line[i] + (a if pa <= pb and pa <= pc else b if pb <= pc else c)) & 255
        out += line
        before = line
    if n == 4:
        out = bytearray(v for i, v in enumerate(out) if i % 4 != 3)
    return bytes(out)


def draw(out, split, name, first, count):
    """Images first ..< first + count of a class; the lines of its table."""
    style = Style(json.loads(files("dicebear_styles").joinpath(name + ".json").read_text("utf-8")))
    lines = []
    for i in range(first, first + count):
        avatar = Avatar(style, {"seed": f"{split}/{name}/{i}", "size": SIZE})
        path = f"{split}/{name}/{i:06d}.png"
        full = os.path.join(out, path)
        if not os.path.exists(full):
            png = bytes(resvg_py.svg_to_bytes(svg_string=avatar.to_string(), skip_system_fonts=True,
                                              width=SIZE, height=SIZE, background="#ffffff"))
            with open(full + ".tmp", "wb") as file:
                file.write(png)
            os.replace(full + ".tmp", full)
        attributes = {k: v for k, v in avatar.to_json()["options"].items() if k.endswith(("Variant", "Color"))}
        lines.append(f"{path}\t{CLASSES.index(name)}\t{name}\t{json.dumps(attributes, sort_keys=True)}\n")
    return lines


def main():
    out, counts, hashes = sys.argv[1], {"train": int(sys.argv[2]), "test": int(sys.argv[3])}, sys.argv[4]
    work = []
    for split, count in counts.items():
        for name in CLASSES:
            os.makedirs(os.path.join(out, split, name), exist_ok=True)
            work += [(split, name, first, min(CHUNK, count - first)) for first in range(0, count, CHUNK)]
    total, done, tables = sum(counts.values()) * len(CLASSES), 0, {}
    with ProcessPoolExecutor(2) as pool:
        waiting = {pool.submit(draw, out, *item): item for item in work}
        for finished in as_completed(waiting):
            item = waiting[finished]
            tables[item] = finished.result()
            done += item[3]
            print(f"make-avatars: {done} of {total}", file=sys.stderr, flush=True)
    for split in counts:
        with open(os.path.join(out, f"{split}.tsv"), "w") as table:
            for item in sorted((i for i in tables if i[0] == split), key=lambda i: (CLASSES.index(i[1]), i[2])):
                table.writelines(tables[item])

    if "--write-hashes" in sys.argv:
        with open(hashes, "w") as file:
            for split in counts:
                for name in CLASSES:
                    path = f"{split}/{name}/000000.png"
                    with open(os.path.join(out, path), "rb") as image:
                        file.write(f"{hashlib.sha256(pixels(image.read())).hexdigest()}  {path}\n")
        return
    wrong = []
    checked = 0
    with open(hashes) as file:
        for line in file:
            expected, path = line.split()
            if not os.path.exists(os.path.join(out, path)):
                continue
            with open(os.path.join(out, path), "rb") as image:
                checked += 1
                if hashlib.sha256(pixels(image.read())).hexdigest() != expected:
                    wrong.append(path)
    if wrong:
        sys.exit(f"make-avatars: the pixels of {len(wrong)} of {checked} checked images are not the expected ones: {', '.join(wrong)}.\n"
                 "This set is not the one the shipped weights were trained on. Delete those files and run again; if it stays so, "
                 "the drawing packages behave differently on this machine.")
    print(f"make-avatars: {total} images in {out}; {checked} checked pixel for pixel", file=sys.stderr)


if __name__ == "__main__":
    main()

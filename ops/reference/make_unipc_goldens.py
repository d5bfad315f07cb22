"""Known answers for Tests/DiffusionTests/UniPCTests.swift, of diffusers' UniPC:

    python3 -m venv v && v/bin/pip install numpy torch diffusers==0.35.2
    v/bin/python ops/reference/make_unipc_goldens.py
"""

import math

import numpy
import torch
from diffusers import UniPCMultistepScheduler

T = 1000


def alpha_bar(step):
    return math.cos((step / T + 0.008) / 1.008 * math.pi / 2) ** 2


def main():
    betas = numpy.array([min(1 - alpha_bar(i + 1) / alpha_bar(i), 0.999) for i in range(T)])
    alpha_bars = numpy.cumprod(1 - betas)
    for steps in (4, 8, 20):
        indices = [round(i * (T - 1) / (steps - 1)) for i in range(steps)][::-1]
        scheduler = UniPCMultistepScheduler(
            trained_betas=betas, prediction_type="sample", solver_order=2, solver_type="bh2", final_sigmas_type="zero")
        scheduler.set_timesteps(steps)
        # The steps that Weir takes.
        scheduler.timesteps = torch.tensor(indices)
        scheduler.sigmas = torch.tensor([math.sqrt((1 - alpha_bars[i]) / alpha_bars[i]) for i in indices] + [0.0], dtype=torch.float64)
        x = torch.tensor([[1.0, -0.5, 0.25, 2.0]], dtype=torch.float64)
        for t in scheduler.timesteps:
            x = scheduler.step(0.7 * torch.sin(x + 0.002 * int(t)), t, x).prev_sample
        print(steps, x[0].tolist())


if __name__ == "__main__":
    main()

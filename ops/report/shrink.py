#!/usr/bin/env python3
"""Averages square images down, as training does: shrink.py FROM TO SIDE"""
import os
import sys
from pathlib import Path

from PIL import Image

source, target, side = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for path in source.glob("*/*.png"):
    image = Image.open(path).convert("RGB")
    os.makedirs(target / path.parent.name, exist_ok=True)
    image.reduce(image.width // side).save(target / path.relative_to(source))

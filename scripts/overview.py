"""Puts pictures of the demo together to the one of the README.

thermospin demo slachter2010
python scripts/overview.py slachter2010-demo docs/_static/overview.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

#: Of the whole, and between pictures [pixels].
WIDTH, SPACE = 1300, 30


def of_width(picture: Image.Image, width: float) -> Image.Image:
    """A picture scaled to a width."""
    return picture.resize((round(width), round(width * picture.height / picture.width)), Image.Resampling.LANCZOS)


def overview(folder: Path) -> Image.Image:
    """The device and its temperature side by side, the fit below."""
    device, heat, fit = (
        Image.open(folder / f"{name}.png").convert("RGB") for name in ("device", "fig5b_temperature", "fit")
    )
    # Equal heights: widths in proportion to width over height.
    shapes = [picture.width / picture.height for picture in (device, heat)]
    upper = [
        of_width(picture, (WIDTH - SPACE) * shape / sum(shapes))
        for picture, shape in zip((device, heat), shapes, strict=True)
    ]
    lower = of_width(fit, WIDTH * 0.8)
    height = max(picture.height for picture in upper)
    whole = Image.new("RGB", (WIDTH, height + SPACE + lower.height), "white")
    whole.paste(upper[0], (0, 0))
    whole.paste(upper[1], (WIDTH - upper[1].width, 0))
    whole.paste(lower, (round(WIDTH * 0.1), height + SPACE))
    return whole


if __name__ == "__main__":
    overview(Path(sys.argv[1])).save(sys.argv[2], optimize=True)

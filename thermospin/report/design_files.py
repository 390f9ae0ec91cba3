"""The files of a design: device file, layout, numbers and a picture."""

from __future__ import annotations

from pathlib import Path

from thermospin.base.files import atomic_file, write_json
from thermospin.designs.result import Design
from thermospin.designs.topology import Form
from thermospin.device import gds
from thermospin.device.edit import with_form, with_lengths, with_place
from thermospin.report.design_figures import design_picture, form_picture


def write_design(better: Design | Form, folder: str | Path, text: str, place: str | Path) -> list[str]:
    """Write device.toml, layout.gds, design.json, and history.png or form.png.

    Args:
      better: the better device.
      folder: for the files; it exists.
      text: of the device file that it was made from, in which dimensions or the solid are replaced.
      place: folder of that file, which its relative paths start from.
    Returns:
      names of the files.
    Raises:
      OSError: a file cannot be written.
    """
    folder = Path(folder)
    if isinstance(better, Form):
        changed, picture = with_form(text, better.canvas.solid.name, better.pieces), "form.png"
    else:
        lengths = {name: better.device.lengths()[name] for name in better.vary}
        changed, picture = with_lengths(text, lengths), "history.png"
    with atomic_file(folder / "device.toml") as file:
        file.write(with_place(changed, Path(place), folder).encode())
    gds.write(better.device, folder / "layout.gds")
    write_json(folder / "design.json", better.to_json())
    if isinstance(better, Form):
        form_picture(better, folder / picture)
    else:
        design_picture(better, folder / picture)
    return ["device.toml", "layout.gds", "design.json", picture]

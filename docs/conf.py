"""Sphinx configuration of the site: python -m sphinx -W -b html docs site."""

from __future__ import annotations

import functools
import os
import sysconfig
import tempfile
from pathlib import Path

import nbclient
from jupyter_cache.executors import utils as executors
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from thermospin import __version__

project = "thermospin"
author = "The thermospin authors"
copyright = author
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"thermospin {release}"
html_static_path = ["_static"]

# Headings can be linked to, as on GitHub.
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]

# Every notebook is run from start to end; one that fails fails the build. Blocks of the other pages are run by
# tests/test_docs.py.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = True
# What a command prints comes in pieces. nbclient joins them as they are, nb_merge_streams with line breaks.
executors.executenb = functools.partial(nbclient.execute, coalesce_streams=True)
# Commands tell on stderr how far they are, which only who waits wants to know; one that fails fails the build.
nb_output_stderr = "remove"
# Notebooks find the command of this environment, whether it is activated or not.
os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
# Programs that one notebook has compiled are there for the next.
os.environ.setdefault("THERMOSPIN_CACHE", os.path.join(tempfile.gettempdir(), "thermospin-site-cache"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 100

#: Files above docs that pages link to, as their readers on a code host need, and the pages that include them here.
ELSEWHERE = {
    "../README.md": "index.md",
    "../CONTRIBUTING.md": "project/contributing.md",
    "../CHANGELOG.md": "project/changelog.md",
    "../benchmarks/README.md": "project/benchmarks.md",
    "../validation/README.md": "project/validation_set.md",
}


def link_here(app: Sphinx, name: str, source: list[str]) -> None:
    """Turns links to files above docs into links to the pages that include them."""
    up = os.path.relpath(".", Path(name).parent)
    for path, page in ELSEWHERE.items():
        source[0] = source[0].replace(f"]({path})", f"]({up}/{page})")


def setup(app: Sphinx) -> None:
    """Registers what is above."""
    app.connect("source-read", link_here)
    app.add_lexer("csv", TextLexer)

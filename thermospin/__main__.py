"""`python -m thermospin` is the command `thermospin`."""

from thermospin.cli import main

main()

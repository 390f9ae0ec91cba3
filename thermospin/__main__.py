"""`python -m thermospin` is the command `thermospin`."""

from thermospin.cli.entry import main

main()

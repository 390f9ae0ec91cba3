"""`python -m thermospin` is the command `thermospin`."""

from thermospin.cli.app import main

main()

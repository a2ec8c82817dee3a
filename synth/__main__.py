"""`python -m synth`."""

from synth.cli import PROGRAM, main

if __name__ == "__main__":
    main(prog_name=PROGRAM)

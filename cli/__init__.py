"""The command line: one program, `gatescope`."""

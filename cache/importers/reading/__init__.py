"""What importers share: containers that are read in pieces and never run anything, layers, and rows made records."""

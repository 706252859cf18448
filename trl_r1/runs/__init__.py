"""runs: say in one line what this room is for."""

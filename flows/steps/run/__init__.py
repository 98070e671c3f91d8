"""A run: what was asked for, what it holds, how it ends."""

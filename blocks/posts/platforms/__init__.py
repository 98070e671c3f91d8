"""The platforms, one file each, and the registry that everything asks about them."""

"""The composition root: the `bertrain` command, and the places where it runs."""

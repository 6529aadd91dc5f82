"""What a comparison raises."""

__all__ = ["Difference"]


class Difference(Exception):
    """Two engines gave different integers; says which."""

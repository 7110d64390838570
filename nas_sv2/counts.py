"""Counts of things in words."""


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `2,000 images`; the plural ends in s unless it is given."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"

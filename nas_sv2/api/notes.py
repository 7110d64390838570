"""How a long call says what it does: lines for the user, and steps done of all."""

from collections.abc import Callable

Notify = Callable[[str], None]
"""Is called with a line before each step that takes long, and for each wait."""
Progress = Callable[[int, int], None]
"""Is called with the steps done and all steps."""


def ignore(*_: object) -> None:
    """Take a line or a count and do nothing with it."""

"""Objects of the user's own modules, named on the command line as `module:attribute`."""

import importlib
import os
import sys
from typing import Any

from nas_sv2.errors import ConfigError


def is_plug_in(word: str) -> bool:
    """Whether a word names an object of a module, as `my_lab.boards:MyBoard` does."""
    return ":" in word


def load_plug_in(field: str, word: str, member: str) -> Any:
    """Import `module:attribute`; a class or function is called without arguments.

    Modules are also looked for in the current directory, after all others.

    Args:
        field: The parameter that `word` was given for.
        word: The module and the attribute.
        member: A member of the objects that are wanted; an attribute that lacks it is called.

    Raises:
        ConfigError: The module or attribute is missing, or the module or call fails.
    """
    module_name, _, attribute = word.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    try:
        found: Any = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
        return found() if isinstance(found, type) or not hasattr(found, member) else found
    except (Exception, SystemExit) as error:  # the module is the user's and may raise anything
        reason = f"{type(error).__name__}: {error}"
        sentence = f"must be a module:attribute that can be imported and called ({reason})"
        raise ConfigError(field, word, sentence) from error

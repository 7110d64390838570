"""Importing packages of the device, and refusing a request for which something is missing.

The text is sent with the agent: Python 3.8, the standard library only.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Refusal(Exception):
    """A request that the agent cannot carry out; `kind` is `device`, `runtime` or `model`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def needed(module: str, package: str = "") -> Any:
    """Import a module, or say how its package is installed there.

    Args:
        module: The name of the module.
        package: The name for pip; empty for that of the module.
    """
    package = package or module
    kept, stderr = io.StringIO(), sys.stderr
    sys.stderr = kept  # an extension for another numpy prints its reason, and raises none
    try:
        found = importlib.import_module(module)
    except Exception as error:  # a package that is broken may raise anything
        said = " ".join(kept.getvalue().split()).partition(". ")[0]
        reason = str(error) or said or repr(error)
        pip = f"{sys.executable} -m pip install"
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            advice = f"install it there: {pip} {package}"
        elif module != "numpy" and "numpy" in reason.lower():
            advice = f"it was built for another numpy; there: {pip} 'numpy<2', or a newer "
            advice += package
        else:
            advice = f"it is there but cannot be loaded; {pip} --force-reinstall {package}"
        raise Refusal("runtime", f"cannot import {module} ({reason}); {advice}") from error
    finally:
        sys.stderr = stderr
        stderr.write(kept.getvalue())
    if not hasattr(found, "__version__"):  # a folder of that name, such as a clone at home
        place = getattr(found, "__file__", None) or ", ".join(getattr(found, "__path__", ()))
        raise Refusal("runtime", f"{module} there is no package: {place} stands for it; rename it")
    return found


@contextlib.contextmanager
def errors_of(runtime: str) -> Iterator[None]:
    """Turn errors of a runtime into a refusal of the model that it was given."""
    try:
        yield
    except (Refusal, MemoryError, OSError):
        raise
    except Exception as error:  # a runtime raises many kinds, all about the model
        raise Refusal("model", f"{runtime}: " + " ".join(str(error).split())) from error

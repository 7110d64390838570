"""The console script, which `python -m nas_sv2` runs too.

It is a module of its own, so that Ctrl-C during the imports of the command line ends it quietly.
"""

import sys
from typing import NoReturn

from nas_sv2.errors import INTERRUPTED


def main() -> NoReturn:
    """Run the command line; see `nas_sv2.cli.main` for the exit codes."""
    try:
        from nas_sv2.cli import main as run
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run()


if __name__ == "__main__":
    main()

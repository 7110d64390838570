"""`python -m nas_sv2` is the console script."""

from nas_sv2.cli import main

if __name__ == "__main__":
    main()

"""`python -m roadstead`."""

from __future__ import annotations

from roadstead.cli import main

if __name__ == "__main__":
    main()

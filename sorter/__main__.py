"""``python -m sorter``."""

from sorter.cli import main

if __name__ == "__main__":
    main()

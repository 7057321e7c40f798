"""`airmeta` and `python -m testbed`: the command, with Ctrl-C during its imports taken quietly."""

import sys


def main() -> None:
    """Entry point."""
    try:
        from testbed.cli import main as command  # noqa: PLC0415 (takes seconds, see above)

        command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

"""`airmeta` and `python -m testbed`: the command, with Ctrl-C during its imports taken quietly."""

import signal
import sys
from types import FrameType


def main() -> None:
    """Entry point."""
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, stop)
        from testbed.cli import main as command  # noqa: PLC0415 (takes seconds, see above)

        if asked:  # some imports swallow every exception
            sys.exit(130)
        signal.signal(signal.SIGINT, before)
        command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

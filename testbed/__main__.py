"""`python -m testbed` is the `airmeta` command."""

from testbed.cli import main

main()

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--radio-uri",
        action="append",
        default=[],
        metavar="URI",
        help="run tests/conformance over this radio too; it transmits. May be repeated.",
    )

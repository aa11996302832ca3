"""How a command ends."""

import io

from emulator.cli.exit_codes import CliError, ExitCode


def test_the_codes_are_those_of_the_reference():
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "SETTINGS": 3,
        "ADDRESS_IN_USE": 4,
        "JOURNAL": 5,
        "RELAY": 6,
        "INTERRUPTED": 130,
    }


def test_an_error_says_the_fact_then_what_to_do():
    error = CliError("the fact", "do this", "or that", code=ExitCode.SETTINGS)
    stream = io.StringIO()
    error.show(stream)

    assert stream.getvalue() == "Error: the fact\n  do this\n  or that\n"
    assert error.exit_code == 3


def test_an_error_is_a_failure_unless_told_otherwise():
    assert CliError("the fact").exit_code == 1

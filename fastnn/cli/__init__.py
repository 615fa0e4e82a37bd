"""The command `fastnn`: train, look at the machine, compile ahead; a module for each, with HELP and two functions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from fastnn.cli import doctor, train, warmup
from fastnn.errors import DeviceError

COMMANDS = {"train": train, "doctor": doctor, "warmup": warmup}

# What a user can put right: arguments, files, extras that are missing, numbers that left the range of their type.
_EXPECTED = (ValueError, TypeError, ImportError, OSError, FloatingPointError, MemoryError, DeviceError)


class _Parser(argparse.ArgumentParser):
    """Raises ValueError where argparse would print the usage and leave, so that all errors look alike."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; the parsed arguments hold in `run` what to call with them."""
    from fastnn import __version__

    top = _Parser(
        prog="fastnn",
        description="Small and medium neural networks, trained fast.",
        epilog="`fastnn train` alone learns handwritten digits in a second. `fastnn COMMAND --help` tells more.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", title="commands")
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (those of the process by default) name; returns the exit code.

    0: done. 2: it could not be done, and one line on stderr, `fastnn: error: ...`, says why; for the traceback
    run `python -X dev -m fastnn ...`. 130: stopped with Ctrl-C. 141: nobody reads the output any more.
    """
    try:
        top = parser()
        args = top.parse_args(arguments)
        if "run" not in args:
            top.print_help(sys.stderr)
            return 2
        code = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The interpreter flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except _EXPECTED as error:
        if sys.flags.dev_mode:
            raise
        print(f"fastnn: error: {_one_line(error)}", file=sys.stderr)
        return 2


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__

"""The command `nas`: one verb a file; nothing heavy is imported before a verb runs."""

import shlex
import signal
import sys

import typer

from cli import (
    export,
    finetune,
    generate,
    listing,
    profile,
    prune,
    rank,
    report,
    search,
    serve,
    train,
    verify,
)

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False,
                  help="Find the best network for your device: as accurate as possible, within a "
                       "measured latency, exported as ONNX.")
app.command("search")(search.search)
app.command("train")(train.train)
app.command("finetune")(finetune.finetune)
app.add_typer(profile.app, name="profile")
app.command("rank")(rank.rank)
app.command("prune")(prune.prune)
app.command("generate")(generate.generate)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("report")(report.report)
app.add_typer(serve.app, name="serve")
app.command("list")(listing.list_)

DEBUG = "--debug"
STOPPED = 130  # what shells give for Ctrl-C


def run() -> None:
    """The console script: errors are one line on stderr; `--debug` shows the traceback."""
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    debug = len(arguments) < len(sys.argv) - 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end: as with Ctrl-C
    sys.exit(main(arguments, debug=debug))


def main(arguments: list[str], *, debug: bool = False) -> int:
    """Runs one command line and returns its exit code: 0, 1 failed, 2 bad input, 130 stopped."""
    from nas.core.errors import NasError
    from nas.core.files import os_error_line

    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except NasError as error:
        if debug:
            raise
        return _complain(str(error), error.exit_code)
    except OSError as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):  # a reader such as `head` has seen enough
            return 1
        return _complain(f"{os_error_line(error)}; remedy that and run it again", 1)
    except Exception as error:
        if debug:
            raise
        # Typer's usage errors are those of the click it was built with: know them by their method.
        if hasattr(error, "format_message"):
            return _complain(f"{error.format_message()} (see `nas --help`)", 2)
        return _complain(f"{type(error).__name__}: {error}; this is a bug: --debug shows where", 1)
    if code == STOPPED:  # Typer's answer to Ctrl-C; verbs that keep something say so themselves
        return _complain("stopped, and nothing half-done was kept; start again with: "
                         f"{shlex.join(['nas', *arguments])}", STOPPED)
    return code if isinstance(code, int) else 0


def _complain(message: str, code: int) -> int:
    print(f"nas: {' '.join(message.split())}", file=sys.stderr)
    return code

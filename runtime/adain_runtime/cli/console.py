"""What every command of the house shares: one-line errors, exit codes, --version, --verbose, tables and bars."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, cast

import typer
from typer.core import TyperCommand, TyperGroup

from adain_runtime.errors import AdainError

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from adain_runtime.backend import Probe

DISTRIBUTION = "adain-edge"
INTERRUPTED = 130  # 128 + SIGINT, what a shell gives an interrupted program
READER_GONE = 141  # 128 + SIGPIPE
_SETTINGS: dict[str, Any] = {
    "rich_markup_mode": "rich",
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
_EXAMPLE_COLUMNS = 78  # of 80, less the margins of typer
BUG = 70  # EX_SOFTWARE of sysexits.h: neither a failed check (1) nor the caller's mistake (2)

# Typer carries its own copy of click's exceptions from 0.26 on and click's before; this is their base in both.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and new line

_state = {"verbose": False}


def _set_verbose(value: bool) -> bool:
    _state["verbose"] = _state["verbose"] or value
    return value


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"{DISTRIBUTION} {version(DISTRIBUTION)}")
        raise typer.Exit


class Stopped(AdainError):  # noqa: N818 nothing went wrong
    """Ctrl-C, with what there is to say about it."""

    exit_code = INTERRUPTED


Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.", callback=_set_verbose)]
Version = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]


def new_app(summary: str, *, epilog: str | None = None, cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """A Typer application with the house's settings; commands are added to it."""
    return typer.Typer(help=summary, epilog=epilog, cls=cls, no_args_is_help=True, **_SETTINGS)


class Command(NamedTuple):
    """A command that lives in a module of its own, which is imported when it is called."""

    place: str
    """``module:function``."""
    words: str
    """Its line in the program's help: the function's own first line, which is not read for that."""
    needs: Callable[[], None] | None = None
    """Raises, with the line that installs them, where libraries that the module imports are not here."""

    def load(self, name: str) -> TyperCommand:
        """Import it, and give it as Typer runs it."""
        if self.needs is not None:
            self.needs()
        module, _, function = self.place.partition(":")
        alone = typer.Typer(add_completion=False, **_SETTINGS)
        alone.command(name)(getattr(import_module(module), function))
        return cast(TyperCommand, typer.main.get_command(alone))


def command_app(commands: Mapping[str, Command], *, summary: str, epilog: str) -> typer.Typer:
    """An application that imports the one command that is called: its help, and light commands, wait for no library."""

    class Loading(TyperGroup):
        def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 click's types, or Typer's own copies
            name, placeholder, rest = super().resolve_command(ctx, args)
            try:
                return name, None if name is None else commands[name].load(name), rest
            except AdainError:
                if ctx.resilient_parsing:  # a shell that completes what is typed
                    return name, placeholder, rest
                raise

    app = new_app(summary, epilog=epilog, cls=Loading)
    app.callback()(_version_alone)
    for name, command in commands.items():
        app.command(name, help=command.words)(_version_alone)  # for the help: it is never called
    return app


def _version_alone(_version: Version = False) -> None:
    pass


def examples(*lines: tuple[str, str]) -> str:
    """The examples under a command's help: (command, what it does), a line each, or two beyond 80 columns."""
    room = _EXAMPLE_COLUMNS - 2 - max(len(note) for _, note in lines)
    wide = max((len(command) for command, _ in lines if len(command) <= room), default=0)
    shown = []
    for command, note in lines:
        between = "  " if len(command) <= wide else "\n\n    "
        shown.append(f"[cyan]{command:{wide}}[/cyan]{between}[dim]{note}[/dim]")
    return "\n\n".join(["[bold]Examples[/bold]", *shown])


def run(app: typer.Typer, program: str) -> NoReturn:
    """Run a command line and exit: 0 done, 1 quality not met, 2 bad usage or input, 3 not available here."""
    _prepare_process()
    try:
        code = app(prog_name=program, standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that has gone is no error
    except AdainError as error:
        _fail(program, str(error), error.exit_code)
    except _USAGE_ERROR as error:
        message = getattr(error, "format_message", error.__str__)()
        if not message:  # no arguments at all: the help has been shown
            sys.exit(2)
        asked = getattr(getattr(error, "ctx", None), "command_path", program)
        _fail(program, f"{message}{_who_has(error)} (see {asked} --help)", 2)
    except (KeyboardInterrupt, typer.Abort):
        _fail(program, "interrupted", INTERRUPTED)
    except SystemExit as error:
        if error.code == 1 or type(sys.stdout).__name__ == "PacifyFlushWrapper":
            sys.exit(READER_GONE)  # rich's and Typer's own answers to a reader that has gone; ours is never 1 here
        raise
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        _drop_stdout()
        sys.exit(READER_GONE)
    except OSError as error:  # of files it is an AdainError by now: what is left is stdout itself
        if error.filename is not None:
            _fail(program, f"{error.filename}: {error.strerror or error}; check the path", 2)
        _drop_stdout()
        _fail(program, f"can't print the result: {error.strerror or error}; what was written to files stays", 2)
    except Exception:  # noqa: BLE001 the last line of defence: a bug gets its traceback and a code of its own
        traceback.print_exc()
        _fail(program, f"this is a bug in {DISTRIBUTION}: please report the lines above", BUG)
    if code == INTERRUPTED:  # Typer's own translation of Ctrl-C
        _fail(program, "interrupted", INTERRUPTED)
    sys.exit(code or 0)


def _who_has(error: Exception) -> str:
    """Which other commands of a program have the option that one lacks."""
    name, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    group = getattr(getattr(context, "parent", None), "command", None)
    having = [
        command
        for command, found in getattr(group, "commands", {}).items()
        if any(name in option.opts and not getattr(option, "hidden", False) for option in found.params)
    ]
    return f"; {', '.join(having)} {'have' if len(having) > 1 else 'has'} it" if name and having else ""


def _prepare_process() -> None:
    if sys.stdout is None:  # the shell closed it: there is nobody to tell, and the files are what matters
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 it lives as long as the process
    if isinstance(sys.stdout, TextIOWrapper):  # a file name that the terminal can't spell is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    for name in ("SIGTERM", "SIGHUP"):  # so that what is half-written is cleared up; a Windows has no terminal to lose
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)


def _terminate(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _drop_stdout() -> None:
    """Let nothing more be written to a stdout that takes nothing, not even by Python's own flush at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(program: str, message: str, code: int) -> NoReturn:
    if _state["verbose"]:
        traceback.print_exc()
    say(f"{program}: {' '.join(message.split())}")
    sys.exit(code)


def plain(text: str) -> str:
    """A stranger's text without what a terminal obeys in place of showing it, such as clearing the screen."""
    return _CONTROLS.sub("?", text)


def say(line: str) -> None:
    """Print a line for the person on stderr: stdout belongs to results."""
    if sys.stderr is not None:  # a closed one is None, for which print would take stdout
        with suppress(OSError):  # it takes nothing, as on a full disk: the exit code says it all the same
            print(plain(line), file=sys.stderr, flush=True)


def print_json(value: dict[str, Any]) -> None:
    """Print the one object of ``--json`` on stdout."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False)
    print(flush=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: str = "") -> Table:
    """A rich table; ``right`` names the columns that hold numbers, separated by blanks."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(plain(title)), title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    numbers = set(right.split())
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(plain(str(cell))) for cell in row))  # as it is: a file may be called [bold].jpg
    return made


def probe_table(title: str, column: str, probes: Mapping[str, Probe]) -> Table:
    """What works here, and for the rest why not and the line that mends it."""
    rows = [
        (name, "yes" if probe else "no", probe.detail + (f"; {probe.fix}" if probe.fix else ""))
        for name, probe in probes.items()
    ]
    return table(title, [column, "works here", "detail"], rows)


def show(*renderables: object) -> None:
    """Print tables, or text as it is, on stdout."""
    from rich.console import Console

    console = Console(soft_wrap=not sys.stdout.isatty())
    for renderable in renderables:  # a path may hold what Rich takes for markup
        console.print(renderable, markup=False)


@contextmanager
def progress(*, enabled: bool = True) -> Iterator[Progress]:
    """A progress display on stderr, drawn only when stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not (enabled and console.is_terminal)) as bar:
        yield bar

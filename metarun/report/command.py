"""The command ``metarun-report``: what became of runs, side by side.

Exit codes: 0 done, also where some folders could not be read; 2 a mistake of the user's.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from metarun.core.errors import UserError
from metarun.core.files import write_text
from metarun.core.output import forgiving
from metarun.core.version import __version__
from metarun.report import keys
from metarun.report.comparison import Comparison, compare
from metarun.report.contrasts import Condition, against, conditions, references
from metarun.report.effects import effects
from metarun.report.formats import csv_text, latex, markdown
from metarun.report.grouping import SORTS, Group, grouped
from metarun.report.runs import Run, Unreadable, folders, on_further_data, read
from metarun.report.table import Table, table
from metarun.report.terminal import show
from metarun.report.text import clean
from metarun.report.unfinished import unfinished

PROGRAM = "metarun-report"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    with forgiving():
        for stream in (sys.stdout, sys.stderr):
            # A terminal that lacks a letter shows a question mark.
            getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    try:
        _report(_parser().parse_intermixed_args(arguments))
    except UserError as error:
        _tell(str(error))
        return 2
    except KeyboardInterrupt:
        _tell("stopped")
        return 130
    return 0


def _tell(line: str) -> None:
    print(f"{PROGRAM}: {clean(line)}", file=sys.stderr)


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} ({PROGRAM} --help lists the options)")


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Tables and pictures of metarun's runs: one row a configuration, its seeds together, the best by "
        "validation marked; and what failed, stopped or still runs.",
    )
    parser.add_argument("paths", metavar="PATH", nargs="*", help="a run's folder, or a folder with runs at any depth")
    parser.add_argument(
        "--where",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="only runs with this setting; VALUE,VALUE: any",
    )
    parser.add_argument(
        "--metric", metavar="NAME", action="append", default=[], help="instead of the run's own; repeatable"
    )
    parser.add_argument(
        "--sort",
        metavar="KEY",
        help=f"{', '.join(SORTS)} or a setting (default: val, best first); --sort=-KEY: the other way round",
    )
    parser.add_argument("--csv", metavar="FILE", help="write the table, numbers in full")
    parser.add_argument("--markdown", metavar="FILE", help="write the table")
    parser.add_argument("--latex", metavar="FILE", help="write the table (booktabs)")
    parser.add_argument("--figures", metavar="FOLDER", help="draw learning and adaptation curves and hyperparameters")
    parser.add_argument("--format", choices=("png", "svg"), default="png", help="of the figures (default: png)")
    parser.add_argument("--html", metavar="FILE", help="write one page with all of it")
    parser.add_argument(
        "--paired",
        metavar=("RUN_A", "RUN_B"),
        nargs=2,
        action="append",
        default=[],
        help="test two runs episode by episode",
    )
    parser.add_argument(
        "--against",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="test each configuration against this one, over all its seeds; repeatable, for all to hold",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def _report(options: Namespace) -> None:
    if not options.paths and not options.paired:
        raise UserError(f"give a run's folder, or a folder with runs ({PROGRAM} --help lists the options)")
    runs = keys.filtered(_with_further_data(_runs(options.paths)), options.where) if options.paths else []
    comparisons = [test for first, second in options.paired for test in compare(first, second, options.metric)]
    groups, left_out = grouped(runs, options.metric, options.sort) if runs else ([], [])
    for older, newer in left_out:
        _tell(f"{older.folder}: left out, since {newer.folder} has the same settings and seed and is newer")
    wanted = conditions(groups, options.against)
    tables = [_tables(group, wanted) for group in groups]
    wrote = _write(options, groups, tables, runs, comparisons)
    lines = [line for test in comparisons for line in test.lines()]
    best = [line for group in groups for line in _best(group)]
    show([one for mine in tables for one in mine], unfinished(runs), [*best, *lines, *wrote], sys.stdout)


def _runs(paths: Sequence[str]) -> list[Run]:
    """All runs below the paths, each once; unreadable ones are reported and skipped."""
    found: dict[Path, Run] = {}
    for path in paths:
        if not Path(path).is_dir():
            raise UserError(f"{path}: no such folder")
        any_here = False
        for folder in folders(Path(path)):
            try:
                run = read(folder)
            except Unreadable as error:
                _tell(f"{folder}: {error}")
            except OSError as error:
                _tell(f"{folder}: cannot be read: {error.strerror or error}")
            else:
                if run is not None:
                    found.setdefault(folder.resolve(), run)
                    any_here = True
        if not any_here:
            raise UserError(f"{path}: no run in it that can be read (a run's folder has config.yaml and status.json)")
    return list(found.values())


def _with_further_data(runs: Sequence[Run]) -> list[Run]:
    """The runs, and each as tested on its further data sets."""
    return [one for run in runs for one in (run, *on_further_data(run))]


def _best(group: Group) -> list[str]:
    """Where the best configuration's runs are."""
    if group.best is None:
        return []
    first, *others = (str(clean(run.folder)) for run in group.best.runs)
    seeds = f" and {len(others)} more of other seeds" if others else ""
    return [f"best by meta-val {group.selecting}: {group.label(group.best)}, in {first}{seeds}"]


def _tables(group: Group, wanted: Sequence[Condition]) -> list[Table]:
    """A group's configurations, each against the reference if one is asked for, and the effects of its factors."""
    return [table(group), *against(group, wanted), *effects(group, references(group, wanted))]


def _write(
    options: Namespace,
    groups: Sequence[Group],
    by_group: Sequence[Sequence[Table]],
    runs: Sequence[Run],
    comparisons: Sequence[Comparison],
) -> list[str]:
    """Write the files asked for; returns a line for each."""
    tables = [one for mine in by_group for one in mine]
    texts: dict[str, Callable[[], str]] = {
        "csv": lambda: csv_text(groups),
        "markdown": lambda: markdown(tables),
        "latex": lambda: latex(tables),
    }
    written = []
    for name, text in texts.items():
        file = getattr(options, name)
        if file is not None:
            _save(f"--{name}", Path(file), text())
            written.append(f"wrote {clean(file)}")
    if options.figures is not None:
        from metarun.report.figures import write  # here, because matplotlib takes a second to import

        with _writing(f"--figures {options.figures}"):
            written += [f"wrote {clean(file)}" for file in write(groups, Path(options.figures), options.format)]
    if options.html is not None:
        from metarun.report.page import page

        _save("--html", Path(options.html), page(groups, by_group, unfinished(runs), comparisons))
        written.append(f"wrote {clean(options.html)}")
    return written


def _save(flag: str, file: Path, text: str) -> None:
    with _writing(f"{flag} {file}"):
        write_text(file, text)


@contextmanager
def _writing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{what}: cannot be written: {error.strerror or error}") from error

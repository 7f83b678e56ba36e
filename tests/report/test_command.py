"""The command: what it prints, what it writes, and what it says to mistakes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from run_folders import write_episodes, write_many, write_run

from metarun.report.command import main
from metarun.report.table import Table
from metarun.report.terminal import show
from metarun.report.unfinished import Unfinished

Report = Callable[..., tuple[int, str, str]]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Report:
    """Run the command in an empty folder: ``report(*arguments)`` is (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def sweep() -> None:
    for seed in (0, 1, 2):
        write_run(Path(f"sweep/maml,{seed}"), {"seed": seed})
    write_run(Path("sweep/anil,0"), {"algorithm": "anil"})
    write_run(Path("sweep/anil,1"), {"algorithm": "anil", "seed": 1}, status="failed", reason="a loss is not finite")


def test_a_sweep_at_a_glance(report: Report) -> None:
    sweep()
    code, out, err = report("sweep")
    assert (code, err) == (0, "")
    assert out == (
        "glyphs · 5-way 1-shot · 15 queries · inductive · conv4 · accuracy\n"
        "   algorithm   seeds  meta-test accuracy  over seeds  meta-val accuracy  over seeds  tasks/s  time"
        "            no figure\n"
        "*  maml            3     0.9000 ± 0.0058    ± 0.0000    0.9100 ± 0.0058    ± 0.0000    412.3  1:15"
        "                    –\n"
        "   anil       1 of 3     0.9000 ± 0.0100           –    0.9100 ± 0.0100           –    412.3  1:15"
        "  1 failed, 1 missing\n"
        "  * best by validation; ±: half-width of the 95 % interval for these models on other episodes (1,000 "
        "meta-test episodes and 100 meta-val episodes); over seeds: for models of other seeds\n"
        "\n"
        "not done: 1\n"
        "  failed  sweep/anil,1  anil seed=1\n"
        "      a loss is not finite\n"
        "\n"
        "best by meta-val accuracy: maml, in sweep/maml,0 and 2 more of other seeds\n"
    )


def test_unreadable_runs_are_listed(report: Report) -> None:
    sweep()
    Path("sweep/empty").mkdir()
    Path("sweep/maml,0/result.json").write_text("{")
    write_run(Path("sweep/half")).joinpath("status.json").unlink()
    code, out, err = report("sweep")
    assert code == 0
    assert "seeds" in out
    lines = err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["sweep/empty", "sweep/half", "sweep/maml,0"]
    assert all(line.startswith("metarun-report: ") for line in lines)


def test_run_named_several_times_counts_once(report: Report) -> None:
    sweep()
    Path("link").symlink_to("sweep")
    once = report("sweep")
    assert report("sweep", "sweep/maml,0", "sweep")[1] == once[1]
    assert report("sweep", "link")[1] == once[1]
    assert report("link")[0] == 0


def test_repeated_runs_are_reported(report: Report) -> None:
    write_run(Path("old"), time="2026-01-01")
    write_run(Path("new"), time="2026-01-02")
    code, _, err = report("old", "new")
    assert code == 0
    assert err == "metarun-report: old: left out, since new has the same settings and seed and is newer\n"


def test_only_failed_runs_are_a_report_too(report: Report) -> None:
    write_run(Path("a"), status="failed", reason="x")
    code, out, _ = report("a")
    assert (code, out.splitlines()[0]) == (0, "not done: 1")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give a run's folder"),
        (["nowhere"], "nowhere: no such folder"),
        (["nothing"], "nothing: no run in it that can be read"),
        (["sweep", "nothing"], "nothing: no run in it that can be read"),
        (["sweep", "--metric", "acuracy"], "did you mean 'accuracy'"),
        (["sweep", "--where", "algoritm=maml"], "did you mean algorithm"),
        (["sweep", "--where", "algorithm=foo"], "(algorithm: anil, maml)"),
        (["sweep", "--sort", "algoritm"], "did you mean algorithm"),
        (["sweep", "--csv", "no/such/folder.csv"], "--csv no/such/folder.csv: cannot be written"),
        (["sweep", "--markdown", "sweep"], "--markdown sweep: cannot be written"),
        (["sweep", "--latex", "no/x.tex"], "--latex no/x.tex: cannot be written"),
        (["sweep", "--html", "no/x.html"], "--html no/x.html: cannot be written"),
        (["sweep", "--figures", "file"], "--figures file: cannot be written"),
        (["sweep", "--format", "pdf"], "invalid choice: 'pdf'"),
        (["sweep", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["--paired", "sweep/maml,0"], "expected 2 arguments"),
        (["--paired", "sweep/maml,0", "sweep/maml,1"], "not the same episodes: engine.episode_seed is 0 and 1"),
    ],
)
def test_mistakes_are_one_line(report: Report, arguments: list[str], told: str) -> None:
    sweep()
    Path("nothing").mkdir()
    Path("nothing/notes.txt").touch()
    Path("file").touch()
    code, out, err = report(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert err.startswith("metarun-report: ")


def test_all_files_are_written(report: Report) -> None:
    sweep()
    flags = ["--csv", "a.csv", "--markdown", "a.md", "--latex", "a.tex", "--html", "a.html", "--figures", "figures"]
    code, out, err = report("sweep", *flags)
    assert (code, err) == (0, "")
    files = ["a.csv", "a.md", "a.tex", "figures/1-glyphs-hyperparameters.png", "a.html"]
    assert out.splitlines()[-5:] == [f"wrote {file}" for file in files]
    assert all(Path(file).stat().st_size for file in files)


def test_two_runs_are_compared_with_and_without_a_table(report: Report) -> None:
    sweep()
    for name, shift in (("maml,0", 0.0), ("anil,0", 0.1)):
        write_episodes(Path("sweep", name), accuracy=[0.5 + shift, 0.6 - shift, 0.7])
    code, out, _ = report("--paired", "sweep/maml,0", "sweep/anil,0")
    assert code == 0
    assert out.splitlines()[0] == "paired, accuracy (more is better) on the same 3 meta-test episodes"
    assert "A - B" in report("sweep", "--paired", "sweep/maml,0", "sweep/anil,0")[1]


def test_many_runs_with_a_closed_pipe(tmp_path: Path) -> None:
    """Without PyTorch, Hydra, TensorBoard and matplotlib, which take seconds to import, and quietly into a pipe."""
    write_many(tmp_path, 100)
    program = (
        "import sys; from metarun.report.command import main; code = main(); "
        "found = {'torch', 'hydra', 'omegaconf', 'tensorboard', 'matplotlib', 'numpy', 'rich'} & set(sys.modules); "
        "sys.stderr.write(str(found or '')); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") > 20
    assert "\x1b" not in done.stdout
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_unsupported_letters_become_question_marks(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-m", "metarun.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "0.9000 ? 0.0100" in done.stdout


def test_terminal_has_colors_with_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    stopped = [Unfinished("failed", "runs/[red]a", "[bold]lr=1", "no [/x] reason", "see log")]
    show([Table("a [title]", ["[k]", "v"], [["[red]x", "1"], ["y", "2"]], 1, 1, "note")], stopped, ["a [line]"], out)
    text = out.getvalue()
    assert "\x1b[" in text
    for told in ("a [title]", "[k]", "[red]x", "runs/[red]a", "[bold]lr=1", "no [/x] reason", "a [line]"):
        assert told in text

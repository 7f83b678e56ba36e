"""Tables for people and for programs: numbers as they are told, and texts that no format takes for its own."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import config, result

from metarun.report.formats import csv_text, latex, markdown
from metarun.report.grouping import Group, grouped
from metarun.report.runs import Run, flat
from metarun.report.statistics import Estimate, over_seeds
from metarun.report.table import Table, table
from metarun.report.terminal import plain_table
from metarun.report.text import clean, duration, figure, margin, number


@pytest.mark.parametrize(
    ("estimate", "told", "half"),
    [
        (Estimate(0.91951, 0.00512), "0.9195 ± 0.0051", "± 0.0051"),
        (Estimate(0.33833, 0.0389), "0.3383 ± 0.0389", "± 0.0389"),
        (Estimate(12.3456, 1.2345), "12.35 ± 1.23", "± 1.23"),
        (Estimate(0.00034512, 0.0000021), "0.0003451 ± 0.0000021", "± 0.0000021"),
        (Estimate(1234.5, 20.0), "1234 ± 20", "± 20"),
        (Estimate(3.2e-9, 1e-10), "3.200e-09 ± 1.0e-10", "± 1.0e-10"),
        (Estimate(4e12, 2e12), "4.000e+12 ± 2.0e+12", "± 2.0e+12"),
        (Estimate(1.0, 0.0), "1.000 ± 0.000", "± 0.000"),
        (Estimate(0.0, 0.0), "0.0000 ± 0.0000", "± 0.0000"),
        (Estimate(0.5, None), "0.5000", "–"),
        (None, "–", "–"),
    ],
)
def test_numbers_with_their_intervals(estimate: Estimate | None, told: str, half: str) -> None:
    assert figure(estimate) == told
    assert margin(estimate) == half


def test_other_numbers() -> None:
    assert [number(value) for value in (412.34, 0.5, None, 5e7)] == ["412.3", "0.5000", "–", "5.000e+07"]
    assert [duration(value) for value in (75.2, 7390, None)] == ["1:15", "2:03:10", "–"]


@given(st.text())
def test_cleaned_texts_are_one_printable_line(text: str) -> None:
    assert clean(text).isprintable()
    assert clean(clean(text)) == clean(text)


def group(*names: str, seeds: int = 2) -> Group:
    runs = [
        Run(
            Path(f"runs/{name}"),
            flat(config({"algorithm": name, "seed": seed})),
            "done",
            "",
            "",
            result(0.5 + seed / 10, 0.9 - place / 10),
        )
        for place, name in enumerate(names)
        for seed in range(seeds)
    ]
    (found,), _ = grouped(runs, [], None)
    return found


def test_table_has_intervals_over_episodes_and_seeds() -> None:
    found = table(group("maml", "anil"))
    over = "over seeds"
    assert found.header == [
        "algorithm", "seeds", "meta-test accuracy", over, "meta-val accuracy", over, "tasks/s", "time",
    ]  # fmt: skip
    assert found.rows[0][:4] == ["maml", "2", "0.5500 ± 0.0071", "± 0.6353"]
    assert found.best == 0
    assert "(1,000 meta-test episodes and 100 meta-val episodes)" in found.note


def test_one_seed_needs_no_columns_of_seeds() -> None:
    assert table(group("maml", "anil", seeds=1)).header == [
        "algorithm", "meta-test accuracy", "meta-val accuracy", "tasks/s", "time",
    ]  # fmt: skip


def test_numbers_of_parameters_are_columns_where_results_have_them() -> None:
    parameters = {"theta": 112_965, "theta made": 5, "phi": 1_234_567, "phi theta": 112_960, "phi hypernet": 1_121_607}
    runs = [
        Run(Path("runs/a"), flat(config({"algorithm": name})), "done", "", "", {**result(), "parameters": parameters})
        for name in ("maml", "anil")
    ]
    (found,), _ = grouped(runs, [], None)
    assert table(found).header[-4:] == ["θ", "φ", "tasks/s", "time"]
    assert table(found).rows[0][-4:-2] == ["112,965", "1,234,567"]
    assert r"$\theta$ & $\varphi$" in latex([table(found)])
    (row, _) = csv.DictReader(io.StringIO(csv_text([found])))
    assert (row["parameters_theta_made"], row["parameters_phi_hypernet"]) == ("5", "1121607")
    assert row["parameters_phi_algorithm"] == ""


def test_plain_text_is_aligned_and_marks_the_best() -> None:
    lines = plain_table(table(group("meta_sgd", "anil"))).splitlines()
    assert lines[2].startswith("*  meta_sgd   ")
    assert lines[3].startswith("   anil       ")
    assert lines[1].index("seeds") + 4 == lines[3].index(" 2 ") + 1


def test_csv_has_every_number_in_full() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text([group("maml", "anil"), group('x,"y"\n;')]))))
    assert [row["algorithm"] for row in rows] == ["maml", "anil", 'x,"y" ;']
    first = rows[0]
    assert (first["metric"], first["seeds"], first["best"]) == ("accuracy", "0 1", "1")
    assert float(first["meta_test"]) == 0.55
    assert float(first["meta_test_ci95_episodes"]) == pytest.approx(0.01 / 2**0.5)
    assert float(first["meta_test_ci95_seeds"]) == over_seeds([0.5, 0.6]).half
    assert (rows[1]["best"], first["runs"]) == ("0", "runs/maml;runs/maml")


texts = st.text(st.characters(codec="utf-8"), max_size=12).map(clean)


@given(st.lists(texts, min_size=1, max_size=4), texts, st.booleans())
def test_markdown_cells_stay_cells(cells: list[str], title: str, best: bool) -> None:
    text = markdown([Table(title, cells, [cells], 0 if best else None, 1, "note")])
    _, _, header, line, row = text.split("\n")[:5]
    for told in (header, line, row):
        assert len(re.split(r"(?<!\\)(?:\\\\)*\|", told)) == len(cells) + 2
    back = [re.sub(r"\\(.)", r"\1", cell).strip() for cell in re.split(r"(?<=[^\\]) \| ", header[1:-1])]
    if not any("\\" in cell for cell in cells):
        assert back == [cell.strip() for cell in cells]


@given(st.lists(texts, min_size=1, max_size=4))
def test_latex_has_no_commands_of_a_users(cells: list[str]) -> None:
    text = latex([Table("a\ttitle", cells, [cells], None, 1, "note")])
    row = text.split("\\midrule\n")[1].split("\n\\bottomrule")[0]
    assert row.endswith(" \\\\")
    left = row.removesuffix(" \\\\")
    named = ("backslash", "asciitilde", "asciicircum", "less", "greater", "bar", "quotedbl")
    escapes = [*(f"\\text{name}{{}}" for name in named), r"$\pm$", r"$\cdot$", *(f"\\{letter}" for letter in "&%$#_{}")]
    for command in escapes:
        left = left.replace(command, "")
    assert not set(left.replace(" & ", "", len(cells) - 1)) & set("\\&%$#_{}~^")


def test_best_rows_are_bold() -> None:
    tables = [table(group("maml", "anil"))]
    assert "| **maml** |" in markdown(tables)
    assert "| anil |" in markdown(tables)
    assert r"\textbf{maml} & \textbf{2} & \textbf{0.5500 $\pm$ 0.0071}" in latex(tables)

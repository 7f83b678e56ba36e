"""Tables of all sorts: kinds of columns, targets, and what cannot be learned from."""

from pathlib import Path

import numpy as np
import pytest

from metarun.automl.columns import column_kinds, dates, numbers, preprocessor
from metarun.automl.tabular import read
from metarun.core.errors import UserError


def written(folder: Path, text: str) -> str:
    file = folder / "data.csv"
    file.write_text(text, encoding="utf-8")
    return str(file)


def rows(count: int, line: str = "{x},{word},{y}", head: str = "x,word,y") -> str:
    random = np.random.default_rng(0)
    words = ["red", "green", "blue"]
    made = [
        line.format(x=round(random.normal(), 3), word=words[n % 3], y="no" if random.random() < 0.3 else "yes", n=n)
        for n in range(count)
    ]
    return "\n".join([head, *made]) + "\n"


def test_kinds_of_columns() -> None:
    columns = [
        ["1", "2.5", "", "-1e3"],
        ["a", "b", "NA", "a"],
        ["2024-01-31", "2024-02-01T10:00", "", "1999-12-31"],
        ["same", "same", "same", "same"],
        ["", "na", "?", "null"],
        ["1", "2", "x", "2"],
        ["2024-13-01", "2024-01-01", "", "a"],
    ]
    expected = ("number", "category", "date", "ignored", "ignored", "category", "category")
    assert column_kinds(np.array(columns, object).T) == expected
    many = np.array([[f"id{number}"] for number in range(80)], object)
    assert column_kinds(many) == ("ignored",)


def test_dates_have_day_month_and_weekday() -> None:
    found = dates(np.array([["2024-02-29"], [""], ["1970-01-01T12:00"]], object))
    np.testing.assert_allclose(found[0], [19782, 1, 3])  # a Thursday
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[2], [0.5, 0, 3])


def test_preparation_of_all_kinds_together() -> None:
    x = np.array(
        [
            ["1", "a", "2024-01-01", "k"],
            ["", "b", "2024-01-03", "k"],
            ["3", "", "", "k"],
            ["5", "b", "2024-01-05", "k"],
        ],
        object,
    )
    made = preprocessor(column_kinds(x)).fit(x)
    found = made.transform(x)
    filled = np.array([1.0, 3, 3, 5])
    np.testing.assert_allclose(found[:, 0], (filled - 3) / filled.std())
    assert found.shape == (4, 1 + 3 + 3)
    np.testing.assert_array_equal(found[:, 4:], [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]])
    assert np.isfinite(made.transform(np.array([["x", "new", "x", ""]], object))).all()
    np.testing.assert_array_equal(numbers(np.array([["inf", "1e300", " 2 "]])), [[np.nan, np.nan, 2]])


def test_a_file_with_words_and_gaps(tmp_path: Path) -> None:
    data = read(written(tmp_path, rows(30) + ",red,\n"), "y", None, (), "recommend.data", 20)
    assert (data.kind, data.classes, data.names) == ("classification", ("no", "yes"), ("x", "word"))
    assert len(data.y) == 30


def test_targets_of_numbers(tmp_path: Path) -> None:
    text = "x,y\n" + "\n".join(f"{n * n % 7},{n * 0.37 + n % 3}" for n in range(40))
    assert read(written(tmp_path, text), "y", None, (), "data", 20).kind == "regression"
    text = "x,y\n" + "\n".join(f"{n * n % 7},{n % 3}" for n in range(40))
    few = read(written(tmp_path, text), "y", None, (), "data", 20)
    assert few.classes == ("0", "1", "2")
    assert read(written(tmp_path, text), "y", "regression", (), "data", 20).kind == "regression"


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        (rows(30), "z", "target=z: "),
        (rows(5), "y", "5 rows with a target; at least 20 are needed"),
        (rows(30, "{x},{word},yes"), "y", "target 'y' has one class, 'yes'; two are needed"),
        (rows(30, "{x},{word},1.5"), "y", "target 'y' is 1.5 in all rows; there is nothing to learn"),
        (rows(300, "{x},{word},c{n}"), "y", "target 'y' has 300 classes, at most 100 are supported"),
        (rows(30, "1,a,{y}"), "y", "no column to predict 'y' from"),
        ("y\n" + "a\nb\n" * 20, "y", "has no column besides the target 'y'"),
        (
            rows(60, "{x},{y}!,{y}"),
            "y",
            "'word' determines the target 'y' exactly: it leaks; leave it out: recommend.exclude=[word]",
        ),
        ("x,y\n" + "\n".join(f"{n * 2.5 + 1},{n}" for n in range(40)), "y", "'x' determines the target 'y' exactly"),
    ],
)
def test_what_cannot_be_learned_from(tmp_path: Path, text: str, target: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(written(tmp_path, text), target, None, (), "recommend.data", 20)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_target_of_words_is_not_regressed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="target 'y': 'yes' is not a number"):
        read(written(tmp_path, "x,y\n1,2\n3,yes\n" + "1,2\n" * 30), "y", "regression", (), "recommend.data", 20)

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import RecipeError
from pipeline.training.pooled import pooled_norm

GOLDEN = "golden/sen12landslides"


def write(folder, rows, train=("data/a.nc", "data/b.nc")):
    table, paths = folder / "stats.csv", folder / "paths.json"
    pd.DataFrame(rows, columns=["file", "variable", "mean", "std"]).to_csv(table, index=False)
    paths.write_text(json.dumps({"train": list(train), "test": ["data/c.nc"]}))
    return table, paths


def test_the_published_norm_comes_back(shared):
    experiment = shared / GOLDEN / "experiments/exp1/raw/s1dsc"
    found = pooled_norm(shared / GOLDEN / "tests/stats/s1dsc_raw_stats.csv", experiment / "data_paths.json")
    expected = json.loads((experiment / "norm_data.json").read_text())
    assert list(found) == ["mean", "std"]
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-8)


def test_it_is_the_norm_of_all_pixels_and_of_train_files_alone(tmp_path):
    pixels = np.random.default_rng(4).normal(3.0, 2.0, (3, 50))
    rows = [(name, "VH", values.mean(), values.std()) for name, values in zip("abc", pixels, strict=True)]
    found = pooled_norm(*write(tmp_path, rows))
    np.testing.assert_allclose(found["mean"], [pixels[:2].mean()], rtol=1e-12)
    np.testing.assert_allclose(found["std"], [pixels[:2].std()], rtol=1e-12)


def test_the_order_of_files_changes_no_bit_and_that_of_variables_is_the_tables(tmp_path):
    rng = np.random.default_rng(1)
    names = [f"f{number}" for number in range(40)]
    rows = [(name, variable, *rng.uniform(0.1, 9.0, 2)) for name in names for variable in ("VV", "DEM", "VH")]
    found = pooled_norm(*write(tmp_path, rows, names))
    rng.shuffle(names)
    assert pooled_norm(*write(tmp_path, rows, names)) == found
    assert found["mean"][1] == pytest.approx(np.mean([row[2] for row in rows if row[1] == "DEM"]))


@pytest.mark.parametrize(
    ("rows", "train", "message"),
    [
        ([("a", "VH", 1, 1)], ("a", "b"), "no mean of VH for train file b"),
        ([("a", "VH", 1, None)], ("a",), "no std of VH for train file a"),
        ([("a", "VH", 1, 1), ("a", "VH", 2, 1)], ("a",), "two rows of one variable for a"),
        ([("a", "VH", 1, 1)], (), "no list of paths under train"),
    ],
)
def test_what_is_refused(tmp_path, rows, train, message):
    with pytest.raises(RecipeError, match=message):
        pooled_norm(*write(tmp_path, rows, train))


def test_files_that_cannot_be_read(tmp_path):
    table, paths = write(tmp_path, [("a", "VH", 1, 1)], ("a",))
    with pytest.raises(RecipeError, match="cannot be read as CSV"):
        pooled_norm(tmp_path / "none.csv", paths)
    with pytest.raises(RecipeError, match="cannot be read as JSON"):
        pooled_norm(table, table)
    table.write_text("file,mean\na,1\n")
    with pytest.raises(RecipeError, match="no column variable, std"):
        pooled_norm(table, paths)

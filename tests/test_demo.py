import json
import struct

import pandas as pd

from pipeline import open_shard
from pipeline.validate import validate


def test_the_demo_has_no_findings(demo):
    assert validate(demo) == []


def test_the_demo_prints_what_it_built_and_how_to_open_it(demo_output):
    for part in ("patches written", "missing:", "preview:", "open_shard", "| S2L2A | B02 |", "generated, not observed"):
        assert part in demo_output


def test_the_three_lines_that_the_demo_prints_open_it(demo_output, capsys):
    lines = [line.strip() for line in demo_output.split("In Python:")[1].strip().splitlines()]
    assert len(lines) == 3
    exec("\n".join(lines))  # noqa: S102
    assert "bands" in capsys.readouterr().out


def test_the_preview_is_a_picture_of_some_size(demo):
    header = (demo / "preview.png").read_bytes()[:24]
    width, height = struct.unpack(">II", header[16:24])
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert width > 800
    assert height > 400


def test_images_of_both_baselines_are_on_one_scale(demo):
    plan = pd.read_parquet(demo / "plan.parquet")
    baselines = {row["baseline"] for row in plan[plan.modality == "S2L2A"].choice.dropna()}
    assert len(baselines) == 2
    statistics = json.loads((demo / "statistics.json").read_text())
    assert statistics["S2L2A"]["B04"]["mean"] < 800


def test_slides_lower_the_vegetation_index(demo):
    samples = pd.read_parquet(demo / "samples.parquet")
    drops = []
    for sample in samples[samples.is_annotated].itertuples():
        optical = open_shard(demo / "all/S2L2A" / f"{sample.shard}.zarr.zip").isel(sample=sample.position)
        mask = open_shard(demo / "all/MASK" / f"{sample.shard}.zarr.zip").isel(sample=sample.position)
        times = pd.to_datetime(optical.time_.values)
        event = sample.date.tz_localize(None)
        before = max(step for step, time in enumerate(times) if time < event)
        after = min(step for step, time in enumerate(times) if time > event)
        red, infrared = (optical.bands.sel(band=name).astype(float).values for name in ("B04", "B08"))
        ndvi = (infrared - red) / (infrared + red)
        inside = mask.bands.values[0, 0] == 1
        drops.append(ndvi[before][inside].mean() - ndvi[after][inside].mean())
    assert min(drops) > 0.1

"""100,000 places by every method, with a check that shares no code: `PYTHONPATH=tests python benchmarks/sampling.py`.

Wall and CPU time (user + system, all threads) are for one process, the city list and the land mask read anew. The check
draws every outline in lon/lat and measures the ground that near ones share by azimuth and distance.
"""

import sys
import time

from support.sampling import overlapping_pairs

from pipeline.recipes import load_recipe
from pipeline.sampling import land
from pipeline.sampling.draw import DrawRequest, NearCities, OnLand, draw_places
from pipeline.sampling.strata import Strata

COUNT = 100_000
RECIPE = load_recipe("landslides", ["patch_size=264", "anchor=0"])

CASES = {
    "cities, std 50 km": DrawRequest(recipe=RECIPE, count=COUNT, method=NearCities()),
    "cities, std 20 km": DrawRequest(recipe=RECIPE, count=COUNT, method=NearCities(std_km=20.0)),
    "cities, by continent": DrawRequest(recipe=RECIPE, count=COUNT, strata=Strata(by="continent")),
    "cities, 3/4 land": DrawRequest(recipe=RECIPE, count=COUNT, min_land_share=0.75),
    "on land": DrawRequest(recipe=RECIPE, count=COUNT, method=OnLand()),
}


def main() -> None:
    wanted = sys.argv[1:] or list(CASES)
    print(
        f"{'method':<22}{'places':>8}{'left':>6}{'draws':>8}{'most':>5}{'sea':>8}{'overlap':>8}"
        f"{'wall s':>8}{'CPU s':>7}{'pairs':>6}{'check s':>8}"
    )
    for name in wanted:
        land._globe.cache_clear()
        wall, cpu = time.perf_counter(), time.process_time()
        drawn = draw_places(CASES[name])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        reasons = drawn.rejected["reason"].value_counts()
        start = time.perf_counter()
        pairs = overlapping_pairs(drawn.places, RECIPE)
        print(
            f"{name:<22}{len(drawn.places):>8}{len(drawn.unplaced):>6}{len(drawn.places) + len(drawn.rejected):>8}"
            f"{drawn.places['attempts'].max():>5}{reasons.get('sea', 0):>8}{reasons.get('overlap', 0):>8}"
            f"{wall:>8.1f}{cpu:>7.1f}{len(pairs):>6}{time.perf_counter() - start:>8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

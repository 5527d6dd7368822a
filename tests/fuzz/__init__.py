"""Mutated inputs: each ends in a clear error or a correct result, and none hangs, crashes, bloats or leaves a file.

`python -m fuzz 500 --seed 1` (with `tests` on the path; `./run fuzz 500`) mutates catalogues, items, COG headers,
tables, shards, recipes and inventories, with knowledge of their structure, and feeds them to the package in processes
of their own. An input is known by seed and number: `--only 123` runs it again.
"""

"""Random kills of a real build on a real cluster: whatever dies, and whenever, the bytes are the same.

`python -m crash 50 --seed 1` (with `tests` on the path; `./run crash 50`) builds a small dataset undisturbed, then
again and again while it sends SIGKILL to the driver, the scheduler or a worker, each a process group of its own. What
was killed is started again and the same command goes on with `--resume`.
"""

"""The command `publish`."""

import argparse
from pathlib import Path

from tqdm import tqdm

from pipeline.cluster import ClusterSetting, open_runner
from pipeline.publish import publish, require_whole


def add_publish(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to a parser."""
    text = "check a dataset and copy it to a folder or object store; MANIFEST comes last, and says that it is whole"
    command = commands.add_parser("publish", help=text, description=text)
    command.add_argument("dataset", type=Path, help="folder of the dataset")
    command.add_argument("target", help="folder, or URL as s3://bucket/prefix; credentials from the environment")
    command.set_defaults(call=_publish)


def _publish(options: argparse.Namespace) -> int:
    print(f"validate: {options.dataset}", flush=True)
    require_whole(options.dataset)
    with tqdm(desc="publish", unit="", leave=False, disable=None) as bar, open_runner(ClusterSetting()) as runner:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        publication = publish(options.dataset, options.target, runner, progress)
    print(publication)
    return 0

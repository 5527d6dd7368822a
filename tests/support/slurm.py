"""A SLURM of one node on the loopback interface: munged, slurmctld and slurmd as processes of the test."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
READY_SECONDS = 30.0
STOP_SECONDS = 10.0

CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
SlurmdParameters=config_overrides
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000
PartitionName=short Nodes=ALL Default=YES MaxTime=00:30:00 State=UP
"""


def missing() -> str:
    """Name what is not installed, or nothing."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return ", ".join(name for name in NEEDED if shutil.which(name, path=path) is None)


@contextmanager
def slurm_site(folder: Path) -> Iterator[Path]:
    """Yield the slurm.conf of a SLURM that accepts jobs."""
    folder.chmod(0o700)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    conf = folder / "slurm.conf"
    control, daemon = _free_ports(2)
    host = socket.gethostname().partition(".")[0]
    conf.write_text(CONF.format(host=host, user=getpass.getuser(), folder=folder, control=control, daemon=daemon))
    with ExitStack() as stack:
        stack.enter_context(_munged(folder))
        stack.enter_context(_running(folder, "slurmctld", "-D", "-c", "-f", str(conf)))
        stack.enter_context(_running(folder, "slurmd", "-D", "-f", str(conf), "-N", host))
        _wait(lambda: "idle" in ask(conf, "sinfo", "-h", "-o", "%T"), folder)
        yield conf


def ask(conf: Path, *command: str) -> str:
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout


def running_jobs(conf: Path) -> list[str]:
    """Numbers of the jobs that run, oldest first."""
    return sorted(ask(conf, "squeue", "-h", "-t", "RUNNING", "-o", "%A").split(), key=int)


@contextmanager
def _munged(folder: Path) -> Iterator[None]:
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    socket_file = folder / "munge.socket"
    files = [f"--{name}-file={folder / f'munge.{name}'}" for name in ("key", "pid", "seed")]
    with _running(folder, "munged", "--foreground", "--force", f"--socket={socket_file}", *files):
        _wait(socket_file.exists, folder)
        yield


@contextmanager
def _running(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    path = f"{os.environ['PATH']}:/usr/sbin"
    with (folder / f"{name}.log").open("wb") as log:
        command: Sequence[str] = [shutil.which(name, path=path) or name, *arguments]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


def _wait(condition, folder: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while not condition():
        logs = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(folder.glob("*.log")))
        assert time.monotonic() < end, logs
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]

"""A real Slurm on this machine, from Debian's packages: a controller and nodes of one core each.

Each node has its own host name and process ids (Linux namespaces), so that it can die at once with all that runs on it.
Everything else lies in one folder; a Slurm that the machine may have is not touched. It needs root.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun")
PACKAGES = ("slurm-wlm", "munge")
PATIENCE = 60.0
"""Seconds after which the cluster is given up."""

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={home}/munge.socket,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmdTimeout=10
KillWait=10
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/%n.pid
SlurmdSpoolDir={home}/%n
StateSaveLocation={home}/state
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PartitionName=all Nodes={nodes} Default=YES
PartitionName=one Nodes=n1
"""

NAMESPACES = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts")


def why_not() -> str | None:
    """Returns why no cluster can be started here, or None. Packages that are missing are installed."""
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    if not all(map(shutil.which, PROGRAMS)):
        if shutil.which("apt-get") is None:
            return f"{' and '.join(PACKAGES)} are not installed, and there is no apt-get"
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            if failure := _failure(["apt-get", *arguments]):
                return failure
    return _failure([*NAMESPACES, "hostname", "n1"])


def _failure(command: list[str]) -> str | None:
    """Runs a command; returns the last line that it printed if it failed."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)  # noqa: S603
    return f"{command[0]} failed: {done.stderr.strip().rpartition(chr(10))[2]}" if done.returncode else None


class Cluster:
    """Nodes n1 and n2 while its context lasts. Partition ``all`` has both, partition ``one`` the first.

    Args:
        home: an empty folder, for all files of the cluster.
    """

    nodes = ("n1", "n2")

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {"SLURM_CONF": str(home / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        key = self.home / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        (self.home / "state").mkdir()
        port, *others = _free_ports(1 + len(self.nodes))
        text = CONFIGURATION.format(host=socket.gethostname(), port=port, home=self.home, nodes=",".join(self.nodes))
        for node, other in zip(self.nodes, others, strict=True):
            (self.home / node).mkdir()
            text += f"NodeName={node} NodeAddr=127.0.0.1 Port={other} CPUs=1\n"
        (self.home / "slurm.conf").write_text(text)
        try:
            files = [f"--{name}-file={self.home}/munge.{name}" for name in ("key", "pid", "log", "seed")]
            self._start("munged", "munged", "--foreground", "--force", f"--socket={self.home}/munge.socket", *files)
            _wait_until((self.home / "munge.socket").exists)
            self._start("slurmctld", "slurmctld", "-D")
            for node in self.nodes:
                self.revive(node)
            _wait_until(
                lambda: self.ask("sinfo", "--noheader", "--partition=all", "--states=idle", "--format=%D") == "2"
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            self.kill(node)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            daemon.wait()
        self._daemons.clear()

    def revive(self, node: str) -> None:
        """Starts a node."""
        self._start(node, *NAMESPACES, "sh", "-c", f"hostname {node} && exec slurmd -D -N {node}")

    def kill(self, node: str) -> None:
        """Lets a node die at once: SIGKILL to its daemon and to every process of its jobs."""
        if (daemon := self._daemons.pop(node, None)) is not None:
            children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
            for child in map(int, children):  # the first process of the namespace: all others end with it
                os.kill(child, signal.SIGKILL)
            daemon.wait()

    def processes(self) -> list[Path]:
        """Returns the processes of the cluster and its jobs, as folders of /proc."""
        mine = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        return [folder for folder in Path("/proc").glob("[0-9]*") if mine in _variables(folder)]

    def ask(self, *command: str) -> str:
        """Runs one of Slurm's commands and returns what it printed."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout.strip()

    def _start(self, name: str, *command: str) -> None:
        environment = {**os.environ, **self.environment}
        with (self.home / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603


def _variables(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has just ended
        return []


def _free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the cluster does not start; its messages lie in its folder")
        time.sleep(0.2)

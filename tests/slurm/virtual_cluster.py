"""A private Slurm cluster of virtual nodes on this host, for tests of the sbatch templates.

`munged`, `slurmctld` and one `slurmd` a node run as root from one temporary folder with their own
configuration, key, sockets, logs and free ports; nothing of an installed Slurm is read or changed.
The nodes are virtual: every `slurmd` runs on this host and tells Slurm the size it was given, so
that templates for large machines can be checked for being schedulable.

What it does not do: accounting (no slurmdbd: states come from `scontrol`), cgroups (processes are
tracked by their parents), more than one user.
"""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "scontrol", "scancel", "squeue", "sinfo")
FINAL_STATES = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")

SLURM_CONF = """\
ClusterName=virtual
SlurmctldHost=localhost
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
# MPICH names its shared memory after the job: an id of an earlier cluster may have left some.
FirstJobId={first_job}
AuthType=auth/munge
CredType=cred/munge
# A requeued job may not start before its credential has expired: 120 s by default.
AuthInfo=socket={folder}/munge.socket,cred_expire={credential_s}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdDebug=verbose
# Nodes are as large as this file says, whatever the host is.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5
MpiDefault=none
GresTypes=gpu
ReturnToService=2
KillWait=10
SlurmctldTimeout=30
SlurmdTimeout=60
InactiveLimit=0
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class ClusterError(RuntimeError):
    """The virtual cluster did not start or a job did not do what was waited for."""


def missing_requirement() -> str | None:
    """What is missing for a virtual cluster on this host, or None when it can run."""
    if os.geteuid() != 0:
        return "the virtual Slurm cluster needs root (munged and slurmd run as root)"
    missing = [name for name in (*DAEMONS, *CLIENTS) if find_program(name) is None]
    if missing:
        return (f"Slurm is not installed ({', '.join(missing)} not found): "
                "apt-get update && apt-get install -y slurm-wlm munge")
    return None


def find_program(name: str) -> str | None:
    """Path of a Slurm or munge program; the daemons may lie outside a user's PATH."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *SBIN)))


def free_ports(n: int) -> list[int]:
    """`n` different TCP ports that are free now."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class VirtualCluster:
    """Slurm on one host as a context manager: started on entry, gone on exit.

    Parameters
    ----------
    n_nodes : int                 virtual nodes, named n1, n2, ...
    cpus, memory_MiB, gpus : int  size of each node as Slurm sees it (the host may be smaller)
    credential_s : int            life of a job credential [s]: the least wait before a requeue
    keep : bool                   leave the temporary folder (logs) behind on exit
    """

    def __init__(self, n_nodes: int = 2, *, cpus: int = 64, memory_MiB: int = 256_000,
                 gpus: int = 4, credential_s: int = 10, keep: bool = False) -> None:
        self.n_nodes, self.cpus, self.memory_MiB, self.gpus = n_nodes, cpus, memory_MiB, gpus
        self.credential_s, self.keep = credential_s, keep
        self.folder = Path()
        self.daemons: list[tuple[str, subprocess.Popen]] = []

    def __enter__(self) -> "VirtualCluster":
        # The folder is short and on the local disk: a socket path has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        try:
            self._write_configuration()
            self._start_munge()
            self._start_slurm()
        except BaseException:
            self.keep = True
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if any(name == "slurmctld" for name, _process in self.daemons):
            self._end_jobs()
        for _name, process in reversed(self.daemons):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.daemons.clear()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the Slurm clients: this cluster, and no outer job's settings."""
        outer = {key: value for key, value in os.environ.items()
                 if not key.startswith(("SLURM", "SBATCH", "PMI"))}
        path = os.pathsep.join((outer.get("PATH", ""), *SBIN))
        return {**outer, "PATH": path, "SLURM_CONF": str(self.folder / "slurm.conf")}

    # --- jobs -----------------------------------------------------------------------------------

    def call(self, *args: str, timeout_s: float = 60, check: bool = True,
             env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
        """Run a Slurm client and return its standard output and error."""
        done = subprocess.run(args, env={**self.environment, **(env or {})}, cwd=cwd, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout_s)
        if check and done.returncode:
            raise ClusterError(f"{' '.join(args)} ended with {done.returncode}: {done.stdout}")
        return done.stdout

    def submit(self, *args: str, env: dict[str, str] | None = None,
               cwd: Path | None = None) -> str:
        """`sbatch` with these arguments; returns the job's id."""
        output = self.call("sbatch", "--parsable", *args, env=env, cwd=cwd)
        return output.strip().splitlines()[-1].split(";")[0]

    def job(self, job_id: str) -> dict[str, str]:
        """The fields of `scontrol show job` (JobState, Restarts, ExitCode, NodeList, ...)."""
        text = self.call("scontrol", "show", "job", job_id)
        return dict(re.findall(r"(\S+?)=(\S*)", text))

    def job_log(self, job_id: str) -> str:
        """What the batch script and its ranks have printed, in all turns."""
        path = Path(self.job(job_id)["StdOut"])
        return path.read_text(errors="replace") if path.exists() else f"no {path}"

    def wait_for(self, job_id: str, states: set[str], timeout_s: float) -> dict[str, str]:
        """Wait until the job is in one of the states; returns its fields."""
        end_s = time.monotonic() + timeout_s
        while True:
            fields = self.job(job_id)
            if fields["JobState"] in states:
                return fields
            if fields["JobState"] in FINAL_STATES:
                raise ClusterError(f"job {job_id} is {fields['JobState']} {fields['ExitCode']}, "
                                   f"waited for {states}; its log:\n{self.job_log(job_id)}")
            if time.monotonic() > end_s:
                raise ClusterError(f"job {job_id} is {fields['JobState']} "
                                   f"({fields.get('Reason')}) after {timeout_s:.0f} s, waited "
                                   f"for {states}")
            time.sleep(0.5)

    # --- daemons --------------------------------------------------------------------------------

    def _write_configuration(self) -> None:
        for name in ("state", *(f"spool.n{i + 1}" for i in range(self.n_nodes))):
            (self.folder / name).mkdir()
        controller_port, *ports = free_ports(1 + self.n_nodes)
        nodes = "\n".join(
            f"NodeName=n{i + 1} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 "
            f"Port={port} CPUs={self.cpus} RealMemory={self.memory_MiB} "
            f"Gres=gpu:{self.gpus} State=UNKNOWN" for i, port in enumerate(ports))
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(
            first_job=1000 + time.time_ns() // 10**9 % 10**7, folder=self.folder,
            controller_port=controller_port, nodes=nodes,
            credential_s=self.credential_s))
        for i in range(self.gpus):
            # A GPU is a character device to Slurm, which never opens it: this one is /dev/null.
            os.mknod(self.folder / f"gpu{i}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        (self.folder / "gres.conf").write_text(
            f"Name=gpu File={self.folder}/gpu[0-{self.gpus - 1}]\n")
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        # munged wants its socket's folder to be open to every user, and the key to nobody else.
        self.folder.chmod(0o755)
        self._start("munged", "--foreground", "--force", f"--key-file={key}",
                    f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid",
                    f"--seed-file={self.folder}/munged.seed")
        self._wait("munged", lambda: (self.folder / "munge.socket").exists(), 20)

    def _start_slurm(self) -> None:
        self._start("slurmctld", "-D", "-c")
        self._wait("slurmctld", lambda: "is UP" in self.call("scontrol", "ping", check=False), 30)
        for i in range(self.n_nodes):
            self._start("slurmd", "-D", "-N", f"n{i + 1}")
        self._wait("slurmd", lambda: self._idle_nodes() == self.n_nodes, 60)

    def _start(self, name: str, *args: str) -> None:
        program = find_program(name)
        if program is None:
            raise ClusterError(f"{name} not found")
        suffix = f".{args[-1]}" if name == "slurmd" else ""
        with open(self.folder / f"{name}{suffix}.log", "wb") as output:
            process = subprocess.Popen([program, *args], env=self.environment, stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True)
        self.daemons.append((name, process))

    def _wait(self, name: str, ready, timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not ready():
            ended = [other for other, process in self.daemons if process.poll() is not None]
            if ended or time.monotonic() > end_s:
                raise ClusterError(f"{name} is not ready (ended: {ended or 'none'}), see the logs "
                                   f"in {self.folder}:\n{self.log_tail()}")
            time.sleep(0.2)

    def _idle_nodes(self) -> int:
        return self.call("sinfo", "-h", "-N", "-o", "%t", check=False).split().count("idle")

    def _end_jobs(self) -> None:
        self.call("scancel", "--signal=KILL", "--full", "--user=root", check=False)
        self.call("scancel", "--user=root", check=False)
        end_s = time.monotonic() + 20
        while self.call("squeue", "-h", check=False).strip() and time.monotonic() < end_s:
            time.sleep(0.5)

    def log_tail(self, n_lines: int = 15) -> str:
        """Last lines of every log of the cluster."""
        parts = []
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-n_lines:]
            parts.append(f"--- {path.name}\n" + "\n".join(lines))
        return "\n".join(parts)


def terminate_on(*signals: signal.Signals) -> None:
    """Turn signals into SystemExit, so that a cluster in a `with` block is always torn down."""
    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for one in signals:
        signal.signal(one, leave)

"""Where compiled kernels are kept, so that a program compiles them once a user, not once a start.

numba notices a change of the file a kernel is in, but not of the files whose functions were
inlined into it. The folder name therefore holds a digest of all kernel sources: after any
change a new folder is used. numba itself keeps machine code of different CPU types apart.
"""

import hashlib
import os
import tempfile
from importlib.metadata import version
from pathlib import Path


def source_digest() -> str:
    """First 12 hex digits of the SHA-256 of every Python file of this package."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def cache_folder() -> Path:
    """A writable folder of this user for the installed numba and these kernel sources.

    `$XDG_CACHE_HOME/sta_mpi` (default `~/.cache/sta_mpi`), else a folder of the user in
    the system's temporary folder where the home folder cannot be written.
    """
    name = f"numba-{version('numba')}-{source_digest()}"
    if os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0"):
        name += "-bounds"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sta_mpi"
    private = Path(tempfile.gettempdir()) / f"sta_mpi-{os.getuid()}"
    for root in (home, private):
        folder = root / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        # a folder of somebody else could feed this program foreign machine code
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    return Path(tempfile.mkdtemp(prefix="sta_mpi-"))


def use_cache_folder() -> None:
    """Point numba to `cache_folder()`, unless the user chose one with NUMBA_CACHE_DIR.

    numba reads the variable when it is imported and again before it compiles.
    """
    if not os.environ.get("NUMBA_CACHE_DIR"):
        os.environ["NUMBA_CACHE_DIR"] = str(cache_folder())

"""sta_mpi: MPI-parallel cryo-electron-tomography subtomogram averaging."""

from sta_mpi.version import __version__

__all__ = ["__version__"]

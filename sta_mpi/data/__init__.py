"""Typed tables of arrays that the whole program passes around; no input or output here."""

from sta_mpi.data.optics import Optics
from sta_mpi.data.particles import Particles
from sta_mpi.data.tilt_series import TiltSeries
from sta_mpi.data.volume import HalfMaps, Volume

__all__ = ["HalfMaps", "Optics", "Particles", "TiltSeries", "Volume"]

"""Parameters of commands that cut particles from reconstructed tomograms."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import JobParameters


class VolumeParameters(JobParameters):
    """How tomograms are read where particles are cut from them (--source tomograms)."""

    tomogram: tuple[Path, ...] = Field(
        (), description="Tomogram (MRC) of another program without its tilt series; may be given "
        "many times. Its name without the ending is the rlnTomoName of its particles. Implies "
        "--source tomograms.")
    wedge: Literal["auto", "tilts", "binary", "file", "none"] = Field(
        "auto", description="Weights of boxes from tomograms. tilts: exact, from dose, CTF and "
        "scale of every tilt. binary: the tilt range alone. file: --wedge-mask. none: all of "
        "the transform alike. auto: tilts where they are known, else binary.")
    wedge_mask: Path | None = Field(
        None, description="Mask of the measured region of Fourier space (MRC, cube of the box, "
        "origin in the centre), for tomograms of several tilt axes.")
    tilt_min_deg: float = Field(
        -60.0, gt=-180, lt=180, description="Lowest tilt of --tomogram, about y [°].")
    tilt_max_deg: float = Field(
        60.0, gt=-180, lt=180, description="Highest tilt of --tomogram, about y [°].")
    edge_shift_px: float = Field(
        1.0, ge=0, le=10, description="A binary wedge is widened by this [Fourier voxels].")
    tomogram_contrast: Literal["auto", "dark", "bright"] = Field(
        "auto", description="Protein in the tomograms; auto: as sta-mpi tomogram made them, else "
        "dark.")
    tomogram_ctf: Literal["auto", "none", "flipped"] = Field(
        "auto", description="CTF in the tomograms. none: not corrected, which is done here for "
        "each particle. flipped: the phases are right. auto: as sta-mpi tomogram made them, else "
        "none.")
    tomogram_dose: Literal["auto", "weighted", "plain"] = Field(
        "auto", description="Whether the tomograms were made from dose-weighted tilts; auto: as "
        "sta-mpi tomogram made them, else plain.")

    @model_validator(mode="after")
    def _wedge(self) -> "VolumeParameters":
        if self.tilt_min_deg >= self.tilt_max_deg:
            raise ValueError(f"tilt_min_deg {self.tilt_min_deg:g} is not below tilt_max_deg "
                             f"{self.tilt_max_deg:g}")
        if (self.wedge == "file") != (self.wedge_mask is not None):
            raise ValueError("--wedge file and --wedge-mask MASK.mrc go together")
        if self.wedge == "tilts" and self.tomogram:
            raise ValueError("--wedge tilts needs tilt series, which --tomogram has none of: "
                             "use --wedge binary, or --tomograms with volumes")
        return self

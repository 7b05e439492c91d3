"""Parameters of `convert`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import InputSetParameters

Program = Literal["auto", "peet", "dynamo", "stopgap", "em", "relion", "imod"]


class ConvertParameters(InputSetParameters):
    """Convert particle sets between programs."""

    input: tuple[Path, ...] = Field(
        (), description="Particles of another program: PEET (.prm, or .csv with --model), Dynamo "
        "(.tbl), STOPGAP or RELION 3/4 (.star), TOM/AV3 (.em), points of an IMOD model (.mod). "
        "Sets of RELION 5 are given by --optimisation-set.")
    input_program: Program = Field(
        "auto", description="Program of --input; default: by its name and content.")
    to: Literal["relion", "relion4", "peet", "dynamo", "stopgap", "em", "markers", "mrc"] = Field(
        description="What to write; relion4: coordinates in unbinned pixels from the corner; "
        "markers: .cmm and .bild for ChimeraX; mrc: maps of EM files.")
    model: tuple[Path, ...] = Field(
        (), description="IMOD models (.mod) of PEET motive lists given as .csv, in their order.")
    iteration: int | None = Field(
        None, ge=1, description="PEET: motive lists of this iteration; default: the last there "
        "is, else initMOTL.")
    tomogram: tuple[Path, ...] = Field(
        (), description="Volumes (MRC) that coordinates count voxels of, where there are no "
        "--tomograms: their sizes and voxels; each is named after its file.")
    tomogram_list: Path | None = Field(
        None, description="Numbers and names of tomograms (Dynamo's .doc: a number and a file a "
        "line).")
    tomogram_name: tuple[str, ...] = Field(
        (), description="Name of a tomogram, as OLD=NEW (OLD: its number or name in --input).")
    pixel_A: float | None = Field(
        None, gt=0, description="Voxel of the volumes that --input counts [Å]; wins over headers.")
    tomogram_size_px: tuple[int, ...] = Field(
        (), description="Size x, y, z (three times) of the volumes that --input counts [voxels]; "
        "with --tomograms: the volume lies in the middle of the tomogram.")
    output_pixel_A: float | None = Field(
        None, gt=0, description="Voxel of the volumes that coordinates are written for [Å]: "
        "rebinning; default: that of --input, or of the reconstructed volumes of the set.")
    binned_voxels: Literal["points", "blocks"] = Field(
        "points", description="What voxel i of a volume binned by b is: the point b i (RELION, "
        "this program) or the mean of a block of b voxels (IMOD), whose centre lies (b - 1) / 2 "
        "unbinned voxels further.")
    first_voxel: int | None = Field(
        None, ge=0, le=1, description="Coordinate of the first voxel in Dynamo, STOPGAP and EM "
        "files; default: 1, as in MATLAB.")
    peet_axis: Literal["y", "z"] = Field(
        "y", description="Axis of PEET's reference that becomes our z: y, its symmetry axis, or z "
        "(references stay as they are).")
    min_score: float | None = Field(None, description="Particles of a lower score are left out.")
    apply_offsets: bool = Field(
        False, description="Write refined positions, with offsets of zero (PEET's "
        "createAlignedModel).")
    centre_A: tuple[float, ...] = Field(
        (), description="Move each particle to this point of its reference: x, y, z (three times) "
        "from its centre [Å] (PEET's modifyMotiveList).")
    rotate_deg: tuple[float, ...] = Field(
        (), description="After that turn the reference by RELION angles rot, tilt, psi (three "
        "times): its point x goes to A x [°].")
    halves_from_class: bool = Field(
        False, description="Half-sets stand in the last digit of foreign classes: class = 10 x "
        "number of the tomogram + half-set.")
    voltage_kV: float | None = Field(
        None, gt=0, description="Without tilt series: acceleration voltage for RELION's optics "
        "table [kV].")
    cs_mm: float | None = Field(
        None, ge=0, description="Likewise, spherical aberration [mm].")
    amplitude_contrast: float | None = Field(
        None, ge=0, le=1, description="Likewise, amplitude contrast, fraction.")
    name: str = Field("particles", pattern=r"^[A-Za-z0-9_.+-]+$",
                      description="First part of the names of foreign files.")
    arrow_A: float = Field(100.0, gt=0, description="Length of arrows among the markers [Å].")

    @model_validator(mode="after")
    def _consistent(self) -> "ConvertParameters":
        for field in ("centre_A", "rotate_deg", "tomogram_size_px"):
            if len(getattr(self, field)) not in (0, 3):
                raise ValueError(f"{field} needs three numbers")
        if any(side < 1 for side in self.tomogram_size_px):
            raise ValueError("tomogram_size_px needs sizes of at least 1")
        given = self.optimisation_set is not None or self.particles is not None
        if bool(self.input) == given:
            raise ValueError("either input or optimisation_set (or particles) is needed")
        if self.to == "mrc" and not self.input:
            raise ValueError("to mrc needs input: EM files")
        if self.tomogram and self.tomograms is not None:
            raise ValueError("tomogram and tomograms exclude each other")
        optics = {name for name in ("voltage_kV", "cs_mm", "amplitude_contrast")
                  if getattr(self, name) is not None}
        has_series = self.tomograms is not None or (given and not self.tomogram)
        if optics and (has_series or self.to != "relion"):
            raise ValueError(f"{sorted(optics)[0]} is for sets of RELION without tilt series")
        if any(name.count("=") != 1 or not all(name.split("=")) for name in self.tomogram_name):
            raise ValueError("tomogram_name needs OLD=NEW")
        return self

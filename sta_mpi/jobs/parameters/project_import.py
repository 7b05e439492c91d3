"""Parameters of `import`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import JobParameters


class ImportParameters(JobParameters):
    """Make a project of tilt series that another program aligned."""

    # what is given
    input: tuple[str, ...] = Field(
        min_length=1, description="What to import: a folder of IMOD, or files .xf (IMOD), .xml "
        "(Warp, M), .aln (AreTomo), or .star (RELION: optimisation set, tomograms); may be given "
        "many times and hold * and ?.")
    stack: str | None = Field(
        None, description="Tilt stack; {name} stands for the name of the series. Default: the "
        "stack of that name beside the alignment.")
    tilt_angles: str | None = Field(
        None, description="Tilt angles (.tlt) of IMOD; {name} as above. Default: beside the .xf.")
    ctf: str | None = Field(
        None, description="CTF of the views: .defocus, .star (Gctf, RELION) or CTFFIND text; "
        "{name} as above. Default: NAME.defocus beside the alignment.")
    mdoc: str | None = Field(
        None, description="SerialEM mdoc; {name} as above. Default: that of the series beside the "
        "alignment.")
    dose_file: str | None = Field(
        None, description="Dose before each view [e/Å²], one a line; {name} as above.")
    particles: Path | None = Field(
        None, description="Particles (STAR) to take along with --input tomograms.star.")
    coordinate_pixel_A: float | None = Field(
        None, gt=0, description="What one unit of their rlnCoordinateX/Y/Z is [Å], for "
        "files that count binned pixels; default: the pixel of the tilt series.")

    # what the files may not say
    pixel_A: float | None = Field(
        None, gt=0, description="Pixel of the stack [Å]; default: its header.")
    binning: float | None = Field(
        None, gt=0, description="Binning of the stack against the images whose pixels the "
        "alignment counts (.xf, .aln); needed for these.")
    voltage_kV: float | None = Field(None, gt=0, description="Acceleration voltage [kV].")
    cs_mm: float | None = Field(None, ge=0, description="Spherical aberration [mm].")
    amplitude_contrast: float | None = Field(
        None, ge=0, le=1, description="Amplitude contrast, fraction.")
    dose_per_tilt_e_per_A2: float | None = Field(
        None, gt=0, description="Dose of one tilt [e/Å²]; wins over the mdoc.")
    tilt_order: Literal["stack", "dose-symmetric+", "dose-symmetric-"] | None = Field(
        None, description="Order in which the views were taken, where no mdoc says: that of the "
        "stack, or outward from zero, one view a side, the positive or negative side first.")
    defocus_A: float | None = Field(
        None, description="One defocus of all views [Å], where nothing was estimated.")
    hand: int | None = Field(
        None, ge=-1, le=1, description="Does defocus grow (1) or fall (-1) with the depth z? "
        "Needed for IMOD and AreTomo; RELION's importer takes -1 unless told otherwise.")
    tomogram_size_px: tuple[int, ...] = Field(
        (), max_length=3, description="Size x, y, z of the tomogram [unbinned px of the stack]; "
        "give three times. Default: that of the files, or of the images with --thickness-A.")
    thickness_A: float | None = Field(
        None, gt=0, description="Thickness of the tomogram [Å]; x and y are those of the images.")
    first_section: int | None = Field(
        None, ge=0, le=1, description="Number of AreTomo's first section, where the file does not "
        "tell.")

    # what to do with it
    exclude_tilts: tuple[str, ...] = Field(
        (), description="Views to leave out, from 1: '1 40-41', or 'NAME: 1 40-41' for one "
        "series; may be given many times.")
    mirror_z: bool = Field(
        False, description="Mirror the tomograms in z (tilt angles and hand change sign): for maps "
        "that come out as mirror images. Warp's frame is the mirror image of IMOD's.")
    export_imod: bool = Field(
        False, description="Also write the alignment as IMOD has it (.xf, .tlt, .xtilt, .defocus), "
        "in pixels of the stack.")
    copy_stacks: bool = Field(
        False, description="Write the images into the project; needed for compressed stacks.")
    grey_scale: float = Field(
        1.0, gt=0, description="Factor on the grey values of copied images.")
    image_type: Literal["float32", "float16"] = Field(
        "float32", description="Numbers of copied images.")

    @model_validator(mode="after")
    def _sizes(self) -> "ImportParameters":
        if self.hand == 0:
            raise ValueError("hand must be 1 or -1")
        if len(self.tomogram_size_px) not in (0, 3):
            raise ValueError("tomogram_size_px needs three numbers, x y z")
        if any(size < 2 or size > 1_000_000 for size in self.tomogram_size_px):
            raise ValueError("tomogram_size_px must be 2 to 1000000")
        if self.tomogram_size_px and self.thickness_A is not None:
            raise ValueError("give tomogram_size_px or thickness_A, not both")
        if self.grey_scale != 1.0 and not self.copy_stacks:
            raise ValueError("grey_scale acts on copied images: give copy_stacks as well")
        return self

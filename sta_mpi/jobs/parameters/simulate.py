"""Parameters of `simulate`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.base import ParallelParameters


class SimulateParameters(ParallelParameters):
    """Simulate tilt series with known truth, written as a RELION 5 project."""

    # what the particles are
    phantom: Literal["chiral", "70S", "C6", "D2"] = Field(
        "chiral", description="Built-in particle: asymmetric, ribosome-sized, or symmetric.")
    phantom_radius_A: float = Field(
        60.0, gt=5, description="Radius of the built-in particle (not of 70S) [Å].")
    phantom_detail_A: float = Field(
        3.0, gt=0.3, description="Standard deviation of the finest blobs of the built-in "
        "particle [Å].")
    model: Path | None = Field(
        None, description="Atomic model (PDB, mmCIF) as the particle instead of the built-in one.")
    model_centre_A: tuple[float, ...] = Field(
        (), max_length=3, description="Point of the model at the particle's centre; give three "
        "times, x y z [Å]. Default: the mean of the atoms.")
    model_b_factor_A2: float | None = Field(
        None, ge=0, description="One B-factor for all atoms, where the model's column holds "
        "something else [Å²].")
    solvent: float = Field(
        1.0, ge=0, description="Density of the solvent about a model, relative to ice; 0: vacuum.")
    density_map: Path | None = Field(
        None, description="MRC map, protein bright, as the particle instead of the built-in one.")
    truth_box_px: int | None = Field(
        None, ge=8, le=1_000_000,
        description="Box of truth.mrc [px, even]; default: 1.5 diameters.")
    truth_binnings: tuple[int, ...] = Field(
        (), description="Also write truth_bin<N>.mrc at these binnings; may be given many times.")

    # where they are
    like: Path | None = Field(
        None, description="RELION 5 optimisation set: take tilt geometry, defocus, dose, poses "
        "and half-sets of a real project.")
    tomograms: Path | None = Field(
        None, description="Tomogram STAR file; wins over that of --like.")
    particles: Path | None = Field(
        None, description="Particle STAR file; wins over that of --like.")
    series: tuple[str, ...] = Field(
        (), description="Tilt series of --like to use; may be given many times. Default: all.")
    binning: int = Field(1, ge=1, description="Binning of the geometry of --like.")
    crop: bool = Field(
        False, description="With --like: cut images and tomograms around the particles used.")
    n_series: int = Field(3, ge=1, le=100_000, description="Number of tilt series.")
    n_particles: int | None = Field(
        None, ge=1, description="Particles a series; with --like the ones nearest to each "
        "other. Default: 40, with --like all.")
    placement: Literal["random", "spheres"] = Field(
        "random", description="Random places and orientations, or lattices on spheres.")
    min_distance_A: float | None = Field(
        None, ge=0, description="Least distance between random particles [Å]; default: their "
        "diameter.")
    n_spheres: int = Field(1, ge=1, description="Spheres a series, for placement spheres.")
    sphere_radius_A: float = Field(500.0, gt=0, description="Radius of the spheres [Å].")
    lattice_spacing_A: float = Field(75.0, gt=0, description="Lattice spacing on spheres [Å].")
    n_crowders: int = Field(
        0, ge=0, description="Other globular particles a series, which are not in the list.")
    crowder_radius_A: float = Field(45.0, gt=0, description="Their radius [Å].")
    n_gold: int = Field(0, ge=0, description="Gold beads a series.")
    gold_diameter_A: float = Field(100.0, gt=0, description="Their diameter [Å].")
    perturb_angle_deg: float = Field(
        0.0, ge=0, le=180, description="Turn the written poses by up to this about random "
        "axes [°]; the truth goes to truth.h5 and particles_truth.star.")
    perturb_shift_A: float = Field(
        0.0, ge=0, description="Move the written positions by up to this [Å].")

    # how they are imaged
    pixel_A: float = Field(4.0, gt=0, description="Pixel of the tilt images [Å].")
    image_width_px: int = Field(512, ge=32, description="Width of the tilt images [px].")
    image_height_px: int = Field(512, ge=32, description="Height of the tilt images [px].")
    thickness_A: float = Field(1600.0, gt=0, description="Thickness of the tomogram [Å].")
    tilt_min_deg: float = Field(-60.0, gt=-90, lt=90, description="Lowest tilt [°].")
    tilt_max_deg: float = Field(60.0, gt=-90, lt=90, description="Highest tilt [°].")
    tilt_step_deg: float = Field(3.0, ge=0.01, le=180, description="Tilt increment [°].")
    tilt_scheme: Literal["dose-symmetric", "bidirectional", "unidirectional"] = Field(
        "dose-symmetric", description="Order in which the tilts are taken.")
    tilt_group: int = Field(
        1, ge=1, description="Tilts taken on one side before the other, dose-symmetric scheme.")
    tilt_axis_deg: float = Field(85.0, description="Angle of the tilt axis [°].")
    x_tilt_deg: float = Field(0.0, gt=-45, lt=45, description="Pitch of the specimen [°].")
    tilt_shift_A: float = Field(
        20.0, ge=0, description="Standard deviation of the image shifts, known to the "
        "project [Å].")
    dose_per_tilt_e_per_A2: float = Field(3.0, ge=0, description="Dose of a tilt [e/Å²].")
    voltage_kV: float = Field(300.0, ge=60, le=1500, description="Acceleration voltage [kV].")
    cs_mm: float = Field(2.7, ge=0, description="Spherical aberration [mm].")
    amp_contrast: float = Field(0.1, ge=0, lt=1, description="Amplitude contrast fraction.")
    defocus_A: float = Field(30000.0, description="Mean defocus, underfocus positive [Å].")
    defocus_spread_A: float = Field(
        5000.0, ge=0, description="Standard deviation of the defocus between series [Å].")
    defocus_tilt_spread_A: float = Field(
        200.0, ge=0, description="Standard deviation of the defocus between tilts [Å].")
    astigmatism_A: float = Field(400.0, ge=0, description="Defocus U minus V [Å].")
    astig_deg: float = Field(40.0, description="Angle of defocus U [°].")
    phase_shift_deg: float = Field(0.0, description="Phase plate [°].")
    hand: int = Field(
        -1, ge=-1, le=1, description="1: defocus grows with depth; -1: it falls (rlnTomoHand).")
    tilt_scale: Literal["none", "cosine", "ice"] = Field(
        "cosine", description="Signal amplitude of a tilt: constant, cosine of the tilt, or "
        "transmission of the ice.")
    ice_mean_free_path_A: float = Field(
        3000.0, gt=0, description="Inelastic mean free path, for tilt scale ice [Å].")
    mtf_at_nyquist: float = Field(
        1.0, gt=0, le=1, description="Detector MTF of the signal at Nyquist (Gaussian).")
    snr: float = Field(
        0.05, gt=0, description="Variance of a particle's image over its disc in the best tilt, "
        "over the variance of the white noise per pixel.")
    noise_sd: float | None = Field(
        None, ge=0, description="Standard deviation of the white noise per pixel, instead of "
        "--snr; 0 for none.")
    noise_colour: float = Field(
        0.0, ge=0, description="Low-frequency noise power over the white noise.")
    noise_knee_per_px: float = Field(
        0.05, gt=0, description="Frequency where half of the coloured noise is left [1/px].")
    noise_tilt_spread: float = Field(
        0.0, ge=0, le=1, description="Relative standard deviation of the noise between tilts.")

    # what is wrong with it
    alignment_shift_error_A: float = Field(
        0.0, ge=0, description="Unknown error of the image shifts [Å].")
    alignment_tilt_error_deg: float = Field(
        0.0, ge=0, description="Unknown error of the tilt angles [°].")
    alignment_axis_error_deg: float = Field(
        0.0, ge=0, description="Unknown error of the tilt-axis angle [°].")
    motion_A: float = Field(
        0.0, ge=0, description="Unknown particle motion between exposures, per coordinate [Å].")
    motion_correlation_A: float = Field(
        1500.0, gt=0, description="Distance over which particles move together [Å].")
    n_frames: int = Field(
        0, ge=0, description="Also write movies of this many frames a tilt; 0: none.")
    frame_drift_px: float = Field(4.0, ge=0, description="Drift over a movie [px].")
    image_type: Literal["float32", "float16"] = Field(
        "float32", description="Number format of the tilt images.")

    @model_validator(mode="after")
    def _consistent(self) -> "SimulateParameters":
        if self.model is not None and self.density_map is not None:
            raise ValueError("give a model or a density map, not both")
        if len(self.model_centre_A) not in (0, 3):
            raise ValueError("model_centre_A needs x, y and z")
        if self.hand == 0:
            raise ValueError("hand is 1 or -1")
        if self.tilt_min_deg > self.tilt_max_deg:
            raise ValueError("tilt_min_deg is above tilt_max_deg")
        if self.truth_box_px is not None and self.truth_box_px % 2:
            raise ValueError("truth_box_px must be even")
        if (self.tomograms is None) != (self.particles is None) and self.like is None:
            raise ValueError("tomograms and particles go together, or with --like")
        if not self.is_twin and (self.series or self.binning > 1 or self.crop):
            raise ValueError("series, binning and crop go with --like")
        return self

    @property
    def is_twin(self) -> bool:
        """Whether geometry and poses come from a real project."""
        return self.like is not None or self.tomograms is not None

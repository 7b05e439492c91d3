"""Electron-scattering density of an atomic model, in solvent, as a map.

Every atom is the sum of five Gaussians of its electron form factor (Peng et al. 1996, the
table of gemmi), widened by its B-factor. The density is sampled on a grid twice as fine with
an extra blur that makes sampling safe, and both are undone in Fourier space, so the map is
band-limited at its own Nyquist frequency. Solvent is a flat density in the complement of the
molecule (vitreous ice), smoothed at the surface; what is kept is the contrast against it.

Scale: contrast is divided by its mean inside the molecule, so protein is about 1, as in the
built-in phantoms. Hydrogens are rarely in a model: where there are none, each carbon carries
the mean number of hydrogens of protein and RNA, at its own place with a wider B-factor.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, rfftn

from sta_mpi.data.atoms import Atoms
from sta_mpi.simulate.phantom import Floats

ICE_MOLECULES_PER_A3 = 0.0311
"""Water molecules in amorphous ice of 0.93 g/cm^3."""
HYDROGENS_PER_CARBON = 1.5
HYDROGEN_B_A2 = 31.0
"""8 pi^2 <u^2> of a bond of 1.1 Å in all directions."""
BLUR_VOXELS = 0.9
"""Least standard deviation of an atom on the sampling grid [voxels]."""
SURFACE_A = 1.5
"""Standard deviation of the smoothing of the solvent's surface [Å]."""


def density_of_atoms(atoms: Atoms, n: int, voxel_A: float, *, centre_A: Floats,
                     b_factor_A2: float | None = None, solvent: float = 1.0
                     ) -> NDArray[np.float32]:
    """Make the contrast map (n, n, n) of a model in ice.

    Parameters
    ----------
    centre_A : (3,) float64        point of the model that comes to lie on voxel n // 2
    b_factor_A2 : float or None    one B-factor for all atoms, for models whose B column holds
                                   something else (a confidence)
    solvent : float                density of the solvent relative to ice; 0 for vacuum
    """
    import gemmi

    fine = max(2, int(np.ceil(voxel_A / 2.0)))
    n_fine, fine_A, edge_A = fine * n, voxel_A / fine, n * voxel_A
    b_factors = atoms.b_factor_A2 if b_factor_A2 is None else np.full(len(atoms), b_factor_A2)
    origin = np.asarray(centre_A, float) - (n_fine // 2) * fine_A
    model = _gemmi_model(atoms, atoms.xyz_A - origin, b_factors)
    calculator = gemmi.DensityCalculatorE()
    calculator.grid.set_unit_cell(gemmi.UnitCell(edge_A, edge_A, edge_A, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
    calculator.grid.set_size(n_fine, n_fine, n_fine)
    blur_A2 = max(0.0, 8 * np.pi**2 * (BLUR_VOXELS * fine_A) ** 2 - float(b_factors.min()))
    calculator.blur = blur_A2
    calculator.cutoff = 1e-6
    calculator.add_model_density_to_grid(model)
    spectrum = rfftn(calculator.grid.array.transpose(2, 1, 0))
    spectrum *= _gaussian_rft(n_fine, fine_A, -blur_A2)
    inside = _molecule_mask(model, calculator.grid.clone())
    inside_rft = rfftn(inside) * _gaussian_rft(n_fine, fine_A, 8 * np.pi**2 * SURFACE_A**2)
    spectrum -= solvent * _ice_density() * inside_rft
    scale = spectrum[0, 0, 0].real / inside.sum(dtype=np.float64)
    if scale <= 0:
        raise ValueError(f"the model has no contrast against solvent of {solvent:g} × ice")
    return _cropped(spectrum / scale, n, n_fine)


def _gemmi_model(atoms: Atoms, xyz_A: Floats, b_factors: Floats) -> Any:
    """A gemmi model of one residue that holds all atoms, with hydrogens implied by carbons."""
    import gemmi

    residue = gemmi.Residue()
    residue.name = "ALL"
    implied = not np.any(atoms.elements == "H")
    for i, element in enumerate(atoms.elements):
        _add_atom(residue, gemmi, str(element), xyz_A[i], b_factors[i], atoms.occupancy[i])
        if implied and element == "C":
            _add_atom(residue, gemmi, "H", xyz_A[i], b_factors[i] + HYDROGEN_B_A2,
                      HYDROGENS_PER_CARBON * atoms.occupancy[i])
    chain = gemmi.Chain("A")
    chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    return model


def _add_atom(residue: Any, gemmi: Any, element: str, xyz: Floats, b_factor: float,
              occupancy: float) -> None:
    atom = gemmi.Atom()
    atom.name = element
    atom.element = gemmi.Element(element)
    atom.pos = gemmi.Position(*xyz)
    atom.b_iso = float(b_factor)
    atom.occ = float(occupancy)
    residue.add_atom(atom)


def _molecule_mask(model: Any, grid: Any) -> NDArray[np.float32]:
    """1 inside the molecule's van der Waals surface, probed by water, else 0; [z, y, x]."""
    import gemmi

    masker = gemmi.SolventMasker(gemmi.AtomicRadiiSet.VanDerWaals)
    masker.put_mask_on_float_grid(grid, model)
    return np.asarray(1.0 - grid.array.transpose(2, 1, 0), np.float32)


def _ice_density() -> float:
    """Scattering density of vitreous ice in the units of the form factors [Å^-2]."""
    import gemmi

    water = sum(gemmi.Element("O").c4322.a) + 2 * sum(gemmi.Element("H").c4322.a)
    return ICE_MOLECULES_PER_A3 * float(water)


def _gaussian_rft(n: int, voxel_A: float, b_factor_A2: float) -> NDArray[np.float32]:
    """exp(-B s^2 / 4) on a half transform (n, n, n//2+1)."""
    full = np.fft.fftfreq(n, voxel_A) ** 2
    half = np.fft.rfftfreq(n, voxel_A) ** 2
    s2 = full[:, None, None] + full[:, None] + half
    return np.exp(-0.25 * b_factor_A2 * s2).astype(np.float32)


def _cropped(spectrum: NDArray, n: int, n_fine: int) -> NDArray[np.float32]:
    """The map of the low frequencies; the fine grid's centre voxel becomes voxel n // 2."""
    half = (n - 1) // 2
    rows = np.r_[0:half + 1, n_fine - half:n_fine]
    small = np.zeros((n, n, n // 2 + 1), np.complex64)
    to = np.r_[0:half + 1, n - half:n]
    shift = np.exp(2j * np.pi * np.fft.fftfreq(n_fine) * (n_fine // 2)).astype(np.complex64)
    part = spectrum[np.ix_(rows, rows, np.arange(half + 1))]
    part = part * shift[rows, None, None] * shift[rows, None] * shift[:half + 1]
    small[np.ix_(to, to, np.arange(half + 1))] = part
    return np.fft.fftshift(irfftn(small, s=(n, n, n))).astype(np.float32) * (n / n_fine) ** 3

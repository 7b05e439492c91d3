"""The particle table: a struct of arrays, one row a particle.

Conventions: `xyz_A` is where the particle was picked or cut (Å from the tomogram
centre), `offset_A` the refined correction in tomogram axes, so the particle is at
`xyz_A + offset_A`. `R_p2t` turns particle (reference) axes into tomogram axes, acting
on xyz columns. `R_box2t` is the orientation of the box a subtomogram was cut in;
identity for boxes parallel to the tomogram.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass
class Particles:
    """n particles of one or more tilt series.

    Parameters
    ----------
    tomo_names : list of str            names of the tilt series, indexed by i_tomo
    i_tomo : (n,) int32                 tilt series of each particle
    names : (n,) object                 unique particle names "tomo/number"
    xyz_A : (n, 3) float64              picked position [Å from the tomogram centre]
    offset_A : (n, 3) float64           refined correction, tomogram axes [Å]
    R_p2t : (n, 3, 3) float64           particle axes to tomogram axes
    R_box2t : (n, 3, 3) float64         box axes to tomogram axes
    half : (n,) int8                    half-set 1 or 2; 0 where not assigned
    optics_group : (n,) int32
    image_names : (n,) object or None   subtomogram or stack file
    weight_names : (n,) object or None  3D weight file of pseudo-subtomograms
    visible : (n, max_tilts) int8 or None   1 seen, 0 not seen, -1 beyond the series' last tilt
    is_2d_stack : bool                  what image_names hold: 2D stacks or 3D boxes
    image_pixel_A, image_size_px : float, int or None   of those images
    is_premultiplied : bool             whether those images are multiplied by the CTF
    columns : dict of str to (n,) array  other columns of the particle table, by RELION label
    """

    tomo_names: list[str]
    i_tomo: NDArray[np.int32]
    names: NDArray[Any]
    xyz_A: Floats
    offset_A: Floats
    R_p2t: Floats
    R_box2t: Floats
    half: NDArray[np.int8]
    optics_group: NDArray[np.int32]
    image_names: NDArray[Any] | None = None
    weight_names: NDArray[Any] | None = None
    visible: NDArray[np.int8] | None = None
    is_2d_stack: bool = True
    image_pixel_A: float | None = None
    image_size_px: int | None = None
    is_premultiplied: bool = False
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.i_tomo)
        shapes = {"xyz_A": (n, 3), "offset_A": (n, 3), "R_p2t": (n, 3, 3), "R_box2t": (n, 3, 3),
                  "names": (n,), "half": (n,), "optics_group": (n,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, expected {shape}")

    def __len__(self) -> int:
        return len(self.i_tomo)

    @property
    def position_A(self) -> Floats:
        """(n, 3) refined positions [Å from the tomogram centre]."""
        return self.xyz_A + self.offset_A

    def select(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """The particles `rows` (indices or mask), in that order; arrays are copied."""
        changed: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                changed[item.name] = value[rows]
        changed["columns"] = {label: value[rows] for label, value in self.columns.items()}
        return replace(self, **changed)

    def with_poses(self, R_p2t: Floats, offset_A: Floats) -> "Particles":
        """The same particles with other orientations and offsets."""
        return replace(self, R_p2t=R_p2t, offset_A=offset_A, columns=dict(self.columns))

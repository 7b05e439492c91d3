"""Pose polish of a box: score of a pose, its gradient and information from 3D Fourier voxels.

The voxels K of a box (a pseudo-subtomogram, or tilt images merged in the tomogram frame) hold
d = sum over tilts of a X / sigma^2 and w = sum of a^2 / sigma^2. With A = R_box2t^T R_p2t the
reference V is read by trilinear interpolation at q = A^T K, and the data are moved back by the
particle's shift in box axes: d' = d exp(+2 pi i K . t / n). Six parameters: a rotation vector
about the particle's own axes [rad] and the shift t in tomogram axes [px],

    dV/dw = grad V x q        dV/dt = -2 pi i K / n V

Sums run over the independent half space once; the mates would double them. Tilt images are
the subject of `kernels.polish`, whose `PoseFunction` is the interface of both.
"""

from sta_mpi.kernels.voxels.problem import VoxelProblem
from sta_mpi.kernels.voxels.samples import (
    PackedVoxels,
    VoxelLayout,
    make_voxel_layout,
    pack_voxels,
)

__all__ = ["PackedVoxels", "VoxelLayout", "VoxelProblem", "make_voxel_layout", "pack_voxels"]

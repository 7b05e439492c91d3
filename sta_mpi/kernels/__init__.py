"""Hot loops: each operation is a folder with a slow reference, scalar maths, CPU and CUDA twins.

`reference.py` says what is computed in plain numpy, `inline.py` holds the scalar maths,
`cpu.py` and `cuda.py` loop over it, `__init__.py` exports the public function, which takes
`device="cpu"` or `"gpu"`. Importing this package chooses numba's cache folder.
"""

from sta_mpi.kernels.cache import use_cache_folder

use_cache_folder()

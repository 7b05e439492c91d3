"""Packaging of sta_mpi: metadata, dependencies, extras and the console script."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.findall(r'__version__ = "(.+)"', (HERE / "sta_mpi" / "version.py").read_text())[0]

setup(
    name="sta_mpi",
    version=VERSION,
    description="MPI-parallel cryo-ET subtomogram averaging",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    packages=find_packages(include=["sta_mpi", "sta_mpi.*"]),
    package_data={"sta_mpi": ["report/templates/*", "py.typed"]},
    python_requires=">=3.11",
    install_requires=[
        "numpy>=2.0",
        "scipy>=1.13",
        "mpi4py>=4.0",
        "pyfftw>=0.15",
        "mrcfile>=1.5",
        "starfile>=0.5.8",
        "h5py>=3.11",
        "numba>=0.61",
        "pandas>=2.2",
        "click>=8.1",
        "pydantic>=2.7",
        "rich>=13",
        "matplotlib>=3.8",
        "jinja2>=3.1",
        "astropy-healpix>=1.0",
        "psutil>=5.9",
    ],
    extras_require={
        "mpich": ["mpich>=4.2"],
        "gpu": ["numba-cuda[cu12]>=0.30", "cupy-cuda12x[ctk]>=14"],
        "model": ["gemmi>=0.6.5"],
        "test": [
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "pytest-benchmark>=4",
            "hypothesis>=6.100",
            "ruff>=0.6",
            "mypy>=1.10",
            "import-linter>=2.0",
        ],
    },
    entry_points={"console_scripts": ["sta-mpi = sta_mpi.__main__:main"]},
)

"""RELION's own reconstruction from what `extract` writes, if it is there.

`relion_reconstruct` opens the particle files as they are written, reads
poses, offsets and images by its own code, and its map is held against the truth. Its 3D CTF is the
root of what RELION 4 and 5 call weights, so boxes are reconstructed without it, and once more after
both parts were divided by that root.
"""

import numpy as np
import pytest

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import text_column
from sta_mpi.signal.fsc import fsc
from sta_mpi.signal.masks import soft_sphere

BOX = 40


@pytest.fixture
def reconstructed(relion):
    """A function: RELION's map of a particle file, its FSC with a map, and mirrored."""
    def reconstruct(particles, truth, *words):
        out = particles.with_name(f"relion_{particles.stem}.mrc")
        relion("relion_reconstruct", particles.parent, "--i", particles, "--o", out, "--pad", 2,
               *words)
        mask = soft_sphere(BOX, 12, 4)
        ours, theirs = read_mrc(truth).data * mask, read_mrc(out).data * mask
        return fsc(theirs, ours), fsc(theirs[::-1], ours)

    return reconstruct


def root_of_weights(particles):
    """The set with D / sqrt(W) and sqrt(W), which RELION 3 takes for image and CTF."""
    star = read_star(particles)
    table, folder = star["particles"], particles.with_name("root")
    folder.mkdir(exist_ok=True)
    columns = zip(table.strings("rlnImageName"), table.strings("rlnCtfImage"), strict=True)
    for i, (data_file, weight_file) in enumerate(columns):
        data, weight = read_mrc(data_file), read_mrc(weight_file, permissive=True).data[:BOX]
        root = np.sqrt(np.maximum(weight, 0))
        used = weight > 1e-3 * weight.max()
        spectrum = np.fft.rfftn(np.fft.ifftshift(data.data))
        divided = np.divide(spectrum, root, out=np.zeros_like(spectrum), where=used)
        image = np.fft.fftshift(np.fft.irfftn(divided, s=(BOX,) * 3, axes=(0, 1, 2)))
        write_mrc(folder / f"{i}.mrc", image.astype(np.float32), data.voxel_A)
        write_mrc(folder / f"{i}_ctf.mrc", (root * used).astype(np.float32), data.voxel_A)
    table["rlnImageName"] = text_column(str(folder / f"{i}.mrc") for i in range(len(table)))
    table["rlnCtfImage"] = text_column(
        str(folder / f"{i}_ctf.mrc") for i in range(len(table)))
    star["optics"]["rlnCtfDataAreCtfPremultiplied"] = [0]
    out = particles.with_name("root.star")
    write_star(out, star.tables)
    return out


@pytest.mark.parametrize("words", [(), ("--no-apply-offsets",)])
def test_relion_reconstructs_the_truth_from_boxes(reconstructed, project, words):
    folder, extract = project
    particles = extract("--form", "boxes", *words) / "particles.star"
    found, mirrored = reconstructed(particles, folder / "sim/truth.mrc")
    # without the CTF's division: shells where it is small are left weak
    assert found[1:6].min() > 0.9
    assert mirrored[3:8].max() < 0.4


def test_relion_reconstructs_the_truth_from_boxes_and_weights(reconstructed, project):
    folder, extract = project
    particles = root_of_weights(extract("--form", "boxes") / "particles.star")
    found, mirrored = reconstructed(particles, folder / "sim/truth.mrc", "--ctf")
    assert found[1:8].min() > 0.97
    assert mirrored[3:8].max() < 0.4


@pytest.mark.parametrize("words", [(), ("--no-apply-offsets",)])
def test_relion_reconstructs_the_truth_from_raw_tilt_images(reconstructed, project, words):
    folder, extract = project
    images = extract("--form", "raw", *words) / "tilt_images.star"
    found, mirrored = reconstructed(images, folder / "sim/truth.mrc", "--ctf")
    assert found[1:8].min() > 0.97
    assert mirrored[3:8].max() < 0.4

"""Tiles, peaks, weights and false alarms of template matching."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.pick.false_alarms import contrast_looks_inverted, false_alarms
from sta_mpi.pick.match_candidates import Field, TurnedTemplates, refine_points
from sta_mpi.pick.match_peaks import local_maxima, over_slab, slab_statistics, thin_points
from sta_mpi.pick.match_template import (
    make_template,
    sphere_offsets,
    template_norms,
    turned_vectors,
)
from sta_mpi.pick.match_tiles import (
    cut_tile,
    half_turn_pairs,
    plan_tiles,
    scan_tiles,
    weighted_tile_rft,
)
from sta_mpi.pick.match_volume import MatchFilter, bead_mask, prepare_volume, search_shape
from sta_mpi.pick.match_weights import on_grid, power_weights
from sta_mpi.signal.fft import FftPlans

PLANS = FftPlans(effort="estimate")
BLOBS = np.array([[0, 0, 0], [3.0, 0, 0], [0, 4.0, 0], [-2, -2, 3.0]])
SIGMA = 1.6


def blobs(n, R=None, centre=(0.0, 0.0, 0.0)):
    """A turned object of four blobs in a cube, by its formula; centre xyz from voxel n // 2."""
    R = np.eye(3) if R is None else R
    axis = np.arange(n) - n // 2
    volume = np.zeros((n, n, n))
    for x, y, z in BLOBS @ R.T + centre:
        volume += np.exp(-0.5 * (((axis - z) ** 2)[:, None, None] + ((axis - y) ** 2)[:, None]
                                 + (axis - x) ** 2) / SIGMA**2)
    return volume.astype(np.float32)


def wide_template():
    """The object on its own voxels, with a band that passes all of it."""
    return make_template(blobs(24), 10.0, np.full(3, 10.0), 200.0, 25.0, PLANS)


def turned_in_tile(template, R, shape):
    """Transform of the turned template on a tile."""
    out = np.zeros((*shape[:2], shape[2] // 2 + 1), np.complex64)
    template.turned(R, shape, template.rows(shape), out)
    return out


def test_turned_template_is_the_transform_of_the_turned_object():
    template = wide_template()
    R = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    shape = (48, 40, 44)      # a part of the middle of a cube has its centre at n // 2 as well
    expected = np.fft.rfftn(np.fft.ifftshift(blobs(48, R)[:, 4:44, 2:46]))
    found = turned_in_tile(template, R, shape)
    inside = np.arange(23) < template.rows(shape)[:, :, None]
    scale = np.vdot(found[inside], expected[inside]).real / np.vdot(found[inside],
                                                                   found[inside]).real
    error = np.abs(scale * found - expected)[inside].max() / np.abs(expected).max()
    assert 0 < error < 0.04       # trilinear, padded twice; the mask cuts the tails of blobs
    wrong = turned_in_tile(template, R.T, shape)
    assert np.abs(scale * wrong - expected)[inside].max() / np.abs(expected).max() > 0.2


def test_scan_finds_the_voxel_and_rotation_of_a_planted_object_in_any_tile():
    template = wide_template()
    rotations = Rotation.random(12, random_state=2).as_matrix()
    volume = np.zeros((60, 70, 80), np.float32)
    at, truth = np.array([40, 15, 61]), 7
    volume[28:52, 3:27, 49:73] += blobs(24, rotations[truth])      # centre 28 + 12, ...
    tiling = plan_tiles((60, 70, 80), 14, 48, is_border_free=False)
    assert len(tiling) > 8
    i_tile = int(tiling.tile_of(at[None])[0])
    n = tiling.tile
    ones = np.ones((*n[:2], n[2] // 2 + 1), np.float32)
    rft = weighted_tile_rft(volume, tiling, i_tile, ones, PLANS)
    offsets = sphere_offsets(template)
    vectors, power = turned_vectors(template, rotations, PLANS, offsets)
    norms = template_norms(power, np.ones((1, *(template.box_px,) * 2, template.box_px // 2 + 1),
                                          np.float32))
    scores = scan_tiles(template, [rft], tiling, rotations, norms, 100, PLANS)[0]
    place = np.unravel_index(scores.best.argmax(), scores.best.shape)
    assert (tiling.starts[i_tile] + place == at).all()
    assert scores.best_index[place] == 100 + truth
    assert (scores.worst <= scores.best).all()
    # by matrix products the same score at the same place, from a start one voxel away
    box = PLANS.box(n)
    box.half[...] = rft
    box.to_real()
    found = refine_points(Field(box.real / box.real.size, offsets),
                          np.array(place)[None] + tiling.margin + [[1, 0, -1]],
                          TurnedTemplates(vectors, offsets), norms[0])
    assert (found.voxel[0] - tiling.margin == place).all()
    assert found.rotation[0] == truth
    assert found.score[0] == pytest.approx(scores.best[place], rel=0.01)
    assert np.abs(found.subvoxel).max() < 0.05


def test_score_of_white_noise_has_unit_variance():
    rng = np.random.default_rng(5)
    rule = MatchFilter(25.0, 400.0, 160.0, 0.0, 0.0)
    volume = prepare_volume(rng.standard_normal((64, 64, 64)).astype(np.float32), 10.0, rule)

    template = make_template(blobs(24), 10.0, volume.voxel_zyx_A, 160.0, 25.0, PLANS)
    rotations = Rotation.random(3, random_state=1).as_matrix()
    _, power = turned_vectors(template, rotations, PLANS, sphere_offsets(template))
    b = template.box_px
    W = power_weights(np.ones((b, b, b // 2 + 1), np.float32), 10.0, rule, volume.noise_power,
                      volume.shell_per_A)
    tiling = plan_tiles(volume.filtered.shape, 12)
    assert len(tiling) == 1
    rft = weighted_tile_rft(volume.filtered, tiling, 0, np.ones((64, 64, 33), np.float32), PLANS)
    scores = scan_tiles(template, [rft], tiling, rotations[:1], template_norms(power, W[None]), 0,
                        PLANS)[0]
    z = scores.best / volume.local_sd
    assert z.std() == pytest.approx(1.0, abs=0.15)      # about 200 independent values


def test_tiles_cover_the_volume_once():
    tiling = plan_tiles((50, 33, 71), 5, 32, is_border_free=False)
    assert max(tiling.tile) <= 32
    counts = np.zeros((50, 33, 71), int)
    for start in tiling.starts:
        counts[tuple(slice(s, s + c) for s, c in zip(start, tiling.core, strict=True))] += 1
    assert (counts == 1).all()
    points = np.argwhere(counts)[::97]
    first = tiling.starts[tiling.tile_of(points)]
    assert ((points >= first) & (points < first + np.array(tiling.core))).all()
    volume = np.random.default_rng(1).random((50, 33, 71)).astype(np.float32)
    tile = cut_tile(volume, tiling, 0)
    n = np.array(tiling.tile) - 5
    assert (tile[5:, 5:, 5:] == volume[:n[0], :n[1], :n[2]]).all()
    assert (tile[:5] == 0).all()


def test_half_turned_rotation_is_scored_like_its_own_template():
    template = wide_template()
    R = Rotation.random(2, random_state=4).as_matrix()
    mates = np.diag([-1.0, -1.0, 1.0]) @ R
    assert list(half_turn_pairs(np.concatenate([R, mates]))) == [(0, 2), (1, 3)]
    volume = np.random.default_rng(6).random((40, 44, 36)).astype(np.float32)
    tiling = plan_tiles(volume.shape, 12)
    n = tiling.tile
    rft = weighted_tile_rft(volume, tiling, 0, np.ones((*n[:2], n[2] // 2 + 1), np.float32), PLANS)
    norms = np.ones((1, 2), np.float32)
    together = scan_tiles(template, [rft], tiling, np.stack([R[0], mates[0]]), norms, 0, PLANS)[0]
    apart = [scan_tiles(template, [rft], tiling, one[None], norms, 0, PLANS)[0]
             for one in (R[0], mates[0])]
    expected = np.maximum(apart[0].best, apart[1].best)
    np.testing.assert_allclose(together.best, expected, atol=1e-3 * np.abs(expected).max())
    assert ((apart[1].best > apart[0].best) == together.best_index).mean() > 0.999


def test_transfer_on_a_finer_grid_keeps_its_values_at_the_same_frequencies():
    H = np.random.default_rng(2).random((8, 8, 5)).astype(np.float32)
    fine = on_grid(H, 10.0, (16, 24, 16), np.full(3, 10.0))
    assert fine.shape == (16, 24, 9)
    np.testing.assert_allclose(fine[0:7:2, 0, 0], H[:4, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(fine[-6::2, 0, 0], H[-3:, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(fine[0, -9::3, ::2], H[0, -3:, :], rtol=1e-6)


def test_search_grid_samples_the_band_and_is_never_finer_than_the_volume():
    assert search_shape((100, 200, 300), 10.0, 48.0) == (50, 100, 150)
    assert search_shape((100, 200, 300), 10.0, 20.0) == (100, 200, 300)


def test_bead_is_masked_and_strong_particles_are_not():
    rng = np.random.default_rng(3)
    volume = rng.standard_normal((40, 40, 40)).astype(np.float32)
    volume[10:12, 20:22, 30:32] = 40
    mask = bead_mask(volume, 8.0)
    assert mask[11, 21, 31]
    assert mask.mean() < 0.01
    volume[:] = rng.standard_normal(volume.shape) * 0.01
    for z, y, x in rng.integers(3, 37, (30, 3)):     # 1 % of the volume: no rare outliers
        volume[z - 1:z + 2, y - 1:y + 2, x - 1:x + 2] = 1.0
    assert not bead_mask(volume, 8.0).any()


def test_peaks_are_local_maxima_and_thinned_best_first():
    scores = np.zeros((9, 9, 9), np.float32)
    scores[4, 4, 4], scores[4, 4, 5], scores[1, 1, 1], scores[0, 8, 8] = 5, 4, 3, 9
    allowed = np.ones(scores.shape, bool)
    allowed[0] = False
    points = local_maxima(scores, allowed, 2)
    assert points.tolist() == [[4, 4, 4], [1, 1, 1]]
    assert thin_points(points * 10.0, np.array([5.0, 3.0]), 60.0).tolist() == [0]
    assert thin_points(points * 10.0, np.array([5.0, 3.0]), 50.0).tolist() == [0, 1]


def test_scores_over_a_slab_do_not_depend_on_its_noise():
    rng = np.random.default_rng(0)
    best = (4 + rng.standard_normal((20, 30, 30))).astype(np.float32)
    best[10:] = best[10:] * 3 + 2
    worst = -best[:, ::-1]
    statistics = slab_statistics(best, worst, np.ones(best.shape, bool), 4)
    for z in (2, 17):
        values = over_slab(best[z].ravel(), np.full(900, z), statistics)
        assert np.median(values) == pytest.approx(0, abs=0.15)
        assert values.std() == pytest.approx(1, abs=0.1)


def test_false_alarms_of_equal_scores_allow_no_threshold():
    rng = np.random.default_rng(8)
    noise = rng.standard_normal(500)
    assert np.isinf(false_alarms(noise, rng.standard_normal(500)).suggest(0.1))
    mixed = np.concatenate([noise, 6 + rng.standard_normal(100)])
    curve = false_alarms(mixed, rng.standard_normal(500))
    threshold = curve.suggest(0.1)
    true_rate = (noise >= threshold).sum() / (mixed >= threshold).sum()
    assert 0.03 < true_rate < 0.2
    assert curve.rate_at(threshold) <= 0.1
    assert (np.diff(curve.rate) >= 0).all()


def test_inverted_contrast_is_told_from_empty_tomograms():
    rng = np.random.default_rng(8)
    noise, other = rng.standard_normal(500), rng.standard_normal(500)
    particles = np.concatenate([noise, 7 + rng.standard_normal(60)])
    assert contrast_looks_inverted(other, particles, 0.1)
    assert not contrast_looks_inverted(particles, other, 0.1)
    assert not contrast_looks_inverted(noise, other, 0.1)

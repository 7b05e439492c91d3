"""Parameters of `classify`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sta_mpi.jobs.parameters.align import SearchParameters


class ClassifyParameters(SearchParameters):
    """Sort particles into classes, with or without alignment."""

    method: Literal["em", "pca"] = Field(
        "em", description="em: classes and averages in turn, until particles stay. pca: principal "
        "components of the aligned particles with their missing wedges, then clusters.")
    classes: int | None = Field(
        None, ge=1, le=100, description="Number of classes. Default: that of the references.")
    align: bool = Field(
        True, description="Search poses in each class; without, particles stay where they are.")
    search: Literal["auto", "global", "local"] = Field(
        "auto", description="How poses are searched, as in refine.")
    focus_mask: Path | None = Field(
        None, description="Mask (MRC, 0..1) of the region that tells classes apart; outside, "
        "all classes share one density.")
    start: Literal["pca", "random"] = Field(
        "pca", description="First classes where there is no reference for each: clusters of "
        "principal components, or random ones.")
    random_starts: int = Field(
        1, ge=1, le=100, description="Random first classes (--start random) that compete for some "
        "rounds each; the start of highest likelihood goes on.")
    lowpass_A: float = Field(
        20.0, gt=0, description="Scores and components use nothing finer than this [Å].")
    iterations: int = Field(25, ge=1, le=100, description="Most rounds.")
    settled_share: float = Field(
        0.01, ge=0, le=1, description="End when fewer than this share of the particles change "
        "their class in a round.")
    least_share: float = Field(
        0.02, ge=0, lt=1, description="A class below this share takes half of the largest one, "
        "and is told of; 0: never.")
    angle_range_deg: float = Field(
        10.0, gt=0, description="Largest rotation away from the current pose in a local round "
        "[°].")
    shift_range_A: float = Field(
        15.0, gt=0, description="Largest shift away from the current position in a round [Å].")
    components: int = Field(4, ge=1, le=20, description="Principal components.")
    pca_lowpass_A: float | None = Field(
        None, gt=0, description="Low-pass of the components [Å]; default: --lowpass-A, or 10 "
        "Fourier shells of the box where that is coarser.")
    pca_iterations: int = Field(
        12, ge=1, le=200, description="Rounds of the search for components.")
    cluster: Literal["gmm", "kmeans"] = Field(
        "gmm", description="Clusters in the components: mixture of Gaussians, or k-means.")

    @model_validator(mode="after")
    def _consistent(self) -> "ClassifyParameters":
        if self.method == "pca" and self.classes is None:
            raise ValueError("method pca needs the number of classes")
        if self.random_starts > 1 and (self.start != "random" or self.method != "em"):
            raise ValueError("random_starts compete from random first classes: set start to "
                             "random and method to em")
        if self.random_starts > 1 and self.classes == len(self.reference):
            raise ValueError("random_starts is for first classes that are not given: leave out "
                             "the references")
        if self.classes is None and len(self.reference) < 2:
            raise ValueError("classes is needed with fewer than two references")
        if self.classes is not None and len(self.reference) > 1 \
                and self.classes != len(self.reference):
            raise ValueError(f"classes is {self.classes}, but there are {len(self.reference)} "
                             "references")
        return self

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.classes if self.classes is not None else len(self.reference)

"""Figures that are not drawn yet: a page's figures can be drawn on all ranks together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sta_mpi.report.content import Figure, Section


@dataclass(frozen=True)
class Drawing:
    """A call of a figure function, to be made later, maybe elsewhere.

    Its arguments must not be changed before. It can be pickled if they can.

    Parameters
    ----------
    draw : callable    from report.figures
    args, kwargs       what it is called with
    """

    draw: Callable[..., bytes]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Size of the arrays among its arguments, also of those in lists and mappings [bytes]."""
        return _nbytes([*self.args, *self.kwargs.values()])

    def png(self) -> bytes:
        """Draw it."""
        return self.draw(*self.args, **self.kwargs)


def _nbytes(value: Any) -> int:
    if isinstance(value, Mapping):
        return _nbytes(list(value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_nbytes, value))
    return int(getattr(value, "nbytes", 0))


def drawings_of(sections: Sequence[Section]) -> list[Drawing]:
    """What is to be drawn of the figures of sections, in their order."""
    return [figure.png for section in sections for figure in section.figures
            if isinstance(figure.png, Drawing)]


def drawn(sections: Sequence[Section], pngs: Sequence[bytes]) -> list[Section]:
    """The sections with the pictures of `drawings_of`, one each in the same order."""
    expected = len(drawings_of(sections))
    if len(pngs) != expected:
        raise ValueError(f"{len(pngs)} pictures for {expected} figures to be drawn")
    left = iter(pngs)

    def picture(figure: Figure) -> Figure:
        return replace(figure, png=next(left)) if isinstance(figure.png, Drawing) else figure

    return [replace(section, figures=[picture(f) for f in section.figures])
            for section in sections]

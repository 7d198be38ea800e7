"""What a loss is: a mean over the images given, and its gradient with respect to the prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from vecgrad.spec.emitter import Emitter
from vecgrad.spec.errors import ArgumentError
from vecgrad.spec.scalar import Expr
from vecgrad.spec.tensor import Shape


@dataclass(frozen=True)
class Loss:
    """Base of all losses.

    ``targets`` says what the labels are: "classes" (integers or one row of weights per class), "values"
    (an array shaped like the prediction) or "shares" (such an array of numbers from 0 to 1). A loss written elsewhere needs
    ``forward`` and ``backward``; with ``probabilities(e, x)`` it makes probabilities of a prediction too.
    """

    targets: ClassVar[Literal["classes", "values", "shares"]] = "values"

    def forward(self, e: Emitter, x: Any, t: Any, w: Any) -> tuple[Any, Any]:
        """(z, what backward needs): x the prediction, t the target of the same shape, w one weight per image.

        z has shape (1,): the sum over the images of w · their loss, times ``mean(e)``.
        """
        raise NotImplementedError

    def backward(self, e: Emitter, saved: Any) -> Any:
        """∂z/∂x."""
        raise NotImplementedError

    def check(self, shape: Shape) -> None:
        """Raises ShapeError when a prediction of ``shape`` per image cannot have this loss."""

    def rows(self, t: Any, w: Any) -> Any:
        """What ``forward`` is given as the target: made of the arrays t (n, *shape) and w (n,), here t itself.

        Losses that are linear in their targets weigh and smooth them here, once for each batch.
        """
        return t

    def counted(self, t: Any, w: Any) -> float:
        """What z is a mean over: the sum of the weights of images with targets t (n, *shape) and weights w (n,)."""
        return float(w.sum())

    @property
    def as_given(self) -> bool:
        """Whether ``rows`` are the targets themselves, so that nobody needs to ask for them."""
        return type(self).rows is Loss.rows

    def rows_shape(self, shape: Shape) -> Shape:
        """The shape of a row for a prediction of ``shape``."""
        return shape


def mean(e: Emitter) -> Expr:
    """One over the sum of the images' weights: a runtime scalar (1/n when no weights are given)."""
    return e.scalar("inverse_weight")


def factors(values: tuple[object, ...], what: str) -> None:
    """ArgumentError unless all are finite numbers of at least 0."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ArgumentError(f"{what} must be a finite number of at least 0, got {value!r}")


def by_name(loss: object, table: dict[str, type[Loss]]) -> Loss:
    """A loss from its name or itself."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str) and loss in table:
        return table[loss]()
    raise ArgumentError(f"loss must be one of {', '.join(map(repr, table))} or a Loss, got {loss!r}")

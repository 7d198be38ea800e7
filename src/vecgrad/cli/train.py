"""``vecgrad train``."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vecgrad.cli._command import (
    INTERRUPTED,
    Command,
    backend_option,
    json_option,
    say,
    say_json,
    threads_option,
)
from vecgrad.cli._interrupts import Interrupts
from vecgrad.spec.errors import VecgradError

if TYPE_CHECKING:
    from vecgrad.data.augment import Augmentation
    from vecgrad.program import Evaluation, Program
    from vecgrad.train import BuiltIn, History, Schedule
    from vecgrad.updates import Update


class _Rate(click.FloatRange):
    """A positive number; unlike click's own range it lets no NaN through."""

    def __init__(self) -> None:
        super().__init__(0, 1e6, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


class _Size(click.ParamType):  # type: ignore[type-arg]
    """32 or 32x48: height and width in pixels."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        sides = str(value).lower().replace("×", "x").split("x")
        if not all(side.isdecimal() for side in sides) or len(sides) > 2:
            self.fail(f"{value} is no size; write a number of pixels, or HEIGHTxWIDTH", param, ctx)
        return int(sides[0]), int(sides[-1])


class _Share(click.FloatRange):
    """A number between 0 and 1, both excluded."""

    def __init__(self) -> None:
        super().__init__(0, 1, min_open=True, max_open=True)


@click.command(cls=Command)
@click.argument("source", default="digits")
@click.option("--data", "folder", metavar="DIR", help="The folder with MNIST's four IDX files.")
@click.option(
    "--model", "model", metavar="NAME", help="digits, mnist, cifar or lenet5. Default: what fits the images."
)
@click.option(
    "--size",
    type=_Size(),
    metavar="N|HxW",
    help="Resize image files to height × width (bilinear, antialiased).",
)
@click.option(
    "--skip-broken", is_flag=True, help="Leave out image files that cannot be decoded, and count them."
)
@click.option("--epochs", type=click.IntRange(1), help="Default: the model's.")
@click.option("--batch-size", type=click.IntRange(1, 1 << 20), help="Default: the model's.")
@click.option("--learning-rate", type=_Rate(), help="Default: the optimizer's.")
@click.option(
    "--optimizer", type=click.Choice(["sgd", "adam", "adamw", "rmsprop"]), default="sgd", show_default=True
)
@click.option("--weight-decay", type=click.FloatRange(0, 1e6), help="Default: the optimizer's.")
@click.option("--clip-norm", type=click.FloatRange(0), help="The largest norm of a step's gradient.")
@click.option(
    "--average",
    type=click.FloatRange(0, 1, max_open=True),
    help="Decay of a moving average of the parameters, which then predicts, such as 0.99.",
)
@click.option(
    "--schedule",
    type=click.Choice(["constant", "steps", "cosine", "linear", "one_cycle"]),
    help="How the learning rate moves. Default: the model's.",
)
@click.option(
    "--warmup", type=click.FloatRange(0, 1), help="Share of the steps that warm up in front of --schedule."
)
@click.option(
    "--label-smoothing",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Share of each label that is spread over all classes.",
)
@click.option(
    "--augment",
    metavar="LIST",
    help="Change images at random, such as flip,pad-crop:4,cutout:8 (also affine, color-jitter, mixup, cutmix).",
)
@click.option(
    "--validation",
    type=_Share(),
    metavar="SHARE",
    help="Hold out this share of the training images to choose the epoch by.",
)
@click.option("--patience", type=click.IntRange(1), help="End after so many epochs without a better one.")
@click.option(
    "--keep",
    type=click.Choice(["best", "last"]),
    help="The epoch to save. Default: the best, with validation images.",
)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True)
@threads_option
@click.option(
    "--out",
    metavar="RUN",
    help="The run folder to write; a run that is there is replaced. Default: a new one in runs/.",
)
@json_option
@backend_option
@click.pass_context
def train(
    ctx: click.Context,
    source: str,
    folder: str | None,
    model: str | None,
    size: tuple[int, int] | None,
    skip_broken: bool,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    optimizer: str,
    weight_decay: float | None,
    clip_norm: float | None,
    average: float | None,
    schedule: str | None,
    warmup: float | None,
    label_smoothing: float,
    augment: str | None,
    validation: float | None,
    patience: int | None,
    keep: str | None,
    seed: int,
    threads: int | None,
    out: str | None,
    as_json: bool,
    backend: str,
) -> None:
    """Train a network and save it as a run.

    SOURCE is digits (1,797 scans that scikit-learn carries; the default; sklearn:digits beside a folder of that name),
    mnist with --data DIR, or data of your own: a folder with one sub-folder of images per class, a .tar or .tar.gz of
    one, a CSV file with the columns path and label, a .npz file, a folder with CIFAR's binary files.
    Images that are held out as test images measure the final accuracy and decide nothing.

    With validation images (the source's own, or --validation 0.1) the best epoch by them is saved, and what the last
    step left in RUN/last. RUN/curve.svg and RUN/history.csv show how it went.

    Ctrl-C ends the training cleanly: what was learned so far is saved. So is the best epoch where a later one ends in an error.

    \b
    Examples:
      vecgrad train
      vecgrad train ~/pets --augment flip,pad-crop:4 --validation 0.1 --patience 10
      vecgrad train mnist --data ~/mnist --epochs 5 --out runs/mnist
    """
    import vecgrad
    from vecgrad import runs
    from vecgrad.cli._models import built_in
    from vecgrad.cli._progress import Progress
    from vecgrad.cli._sources import open_source
    from vecgrad.losses import CrossEntropy
    from vecgrad.train.models import fitting

    dataset, noted = open_source(source, folder, size, skip_broken)
    if validation is not None:
        dataset = dataset.with_validation(validation, seed)
    if dataset.validation_images is None and (patience or keep == "best"):
        raise click.UsageError("--patience and --keep best go by validation images; add --validation 0.1")
    steps = _augmentations(augment, dataset.input_shape)
    names = _new_names(f"{dataset.name.removesuffix('.npz')}-{seed}") if out is None else iter((Path(out),))
    place = next(names)
    runs.check_place(place)  # before the work, not after it
    chosen = built_in(model) if model is not None else fitting(dataset.input_shape)
    network = chosen.build(dataset.input_shape, dataset.classes)
    program = vecgrad.compile(
        network,
        dataset.input_shape,
        loss=CrossEntropy(label_smoothing=label_smoothing),
        optimizer=_optimizer(
            chosen,
            optimizer,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            average=average,
        ),
        batch_size=batch_size or chosen.batch_size,
        threads=threads,
        seed=seed,
        backend=backend,
    )
    say(str(dataset))
    count = vecgrad.summary(network, dataset.input_shape).parameters
    say(f"model {chosen.name}: {chosen.about}; {count:,} parameters, {program.optimizer}")
    began = time.perf_counter()
    failure: VecgradError | None = None
    with Interrupts() as interrupts:
        try:
            with Progress() as progress:
                history = vecgrad.fit(
                    program,
                    dataset,
                    epochs=epochs or chosen.epochs,
                    schedule=_schedule(chosen, schedule, warmup),
                    on_event=progress,
                    keep=keep or ("last" if dataset.validation_images is None else "best"),
                    patience=patience,
                    augment=steps,
                )
        except VecgradError as error:
            history, failure = _rescued(error, program), error
        if history.interrupted and failure is None and not program.steps:
            raise KeyboardInterrupt
        seconds = time.perf_counter() - began
        measured: Evaluation | None = None
        if not history.interrupted:
            try:
                measured = program.evaluate(*dataset.part("test"))
            except KeyboardInterrupt:
                history = replace(history, interrupted=True)
        found: dict[str, Any] = {
            "test_accuracy": None,
            "test_loss": None,
            "epochs": len(history.epochs),
            "train_seconds": round(seconds, 3),
            "images_per_second": round(history.images_per_second, 1),
            "interrupted": history.interrupted,
            "stopped_early": history.stopped_early,
            "best_epoch": history.best_epoch,
        }
        if measured is not None:
            loss = measured.loss if math.isfinite(measured.loss) else None  # as JSON has it
            found |= {"test_accuracy": measured.accuracy, "test_loss": loss}
        interrupts.hold()
        with _claimed(place, names) if out is None else nullcontext(place) as place:
            full = program.save(place, history=history, data=noted, metrics=found)
    if history.best_epoch is not None and (measured or failure):
        say(f"epoch {history.best_epoch} is the best on the validation images")
    if measured is not None:
        say(f"test accuracy {measured.accuracy:.4f} ({measured.images:,} images)")
    epochs_done = "1 epoch" if len(history.epochs) == 1 else f"{len(history.epochs)} epochs"
    say(f"{epochs_done} in {seconds:.1f} s, {history.images_per_second:,.0f} images/s")
    if history.interrupted and failure is None:
        done = (history.last or program).steps
        click.echo(f"interrupted after {done:,} steps; what was learned so far is saved", err=True)
    say(f"run saved in {place}")
    if failure is not None:
        raise failure
    if as_json:
        say_json(found | {"model": chosen.name, "seed": seed, "run": str(full)})
    if history.interrupted:
        ctx.exit(INTERRUPTED)


def _rescued(error: VecgradError, program: Program) -> History:
    """What was trained before the error, where there is something to keep; else the error is raised.

    The last step of a training whose loss is no number left parameters that are none either: then only a best epoch counts.
    """
    from vecgrad.spec.errors import TrainingError

    history: History | None = error.history
    if history is None or not program.steps:
        raise error
    if isinstance(error, TrainingError) and history.best_epoch is None:
        raise error
    return history


def _augmentations(text: str | None, shape: tuple[int, int, int]) -> tuple[Augmentation, ...]:
    from vecgrad.data.augment import Normalize, augmentations
    from vecgrad.spec.errors import ArgumentError

    try:
        steps = augmentations(text)
        for step in steps:
            step.check(shape)
    except ArgumentError as error:
        raise click.BadParameter(str(error), param_hint="--augment") from error
    if any(isinstance(step, Normalize) for step in steps):
        raise click.BadParameter("images are normalised anyway; leave normalize out", param_hint="--augment")
    return steps


def _optimizer(chosen: BuiltIn, name: str, **given: float | None) -> Update:
    """The rule of that name, the model's own for "sgd", with what was asked for."""
    from vecgrad.updates import UPDATES

    rule = chosen.optimizer if name == "sgd" else UPDATES[name]()
    return replace(rule, **{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]


def _schedule(chosen: BuiltIn, name: str | None, warmup: float | None) -> Schedule:
    from vecgrad.train.schedules import Cosine, Warmup, by_name

    schedule = chosen.schedule if name is None else by_name(name)
    if warmup is None:
        return schedule
    # One that warms up by itself does so for as long as is asked for, not twice.
    return replace(schedule, warmup=warmup) if isinstance(schedule, Cosine) else Warmup(schedule, warmup)


def _new_names(name: str) -> Iterator[Path]:
    """runs/NAME-1, -2, …: those that do not exist."""
    places = (Path("runs") / f"{name}-{number}" for number in itertools.count(1))
    return (place for place in places if not place.exists())


@contextmanager
def _claimed(place: Path, others: Iterator[Path]) -> Iterator[Path]:
    """``place`` or else one of the others, made here and empty, so that two trainings never share one; gone after an error."""
    while True:
        try:
            place.mkdir(parents=True)
            break
        except FileExistsError:
            place = next(others)
    try:
        yield place
    except BaseException:
        with suppress(OSError):
            place.rmdir()
        raise

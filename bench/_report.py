"""What a measurement prints: a head with machine and versions, a table as text or Markdown, everything as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import click

import vecgrad
from vecgrad.runtime import host_machine


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def head(packages: Sequence[str] = (), **settings: Any) -> dict[str, Any]:
    """Machine, versions and settings of a run; a package that is not installed has version None."""
    machine = host_machine()
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "vecgrad": vecgrad.__version__,
    }
    for name in ("numpy", "llvmlite", *packages):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "processor": processor(), "llvm_cpu": machine.cpu, "isa": machine.isa, "cores": os.cpu_count(),
        "cache_bytes": {"L1": machine.l1, "L2": machine.l2, "L3": machine.l3},
        "system": platform.platform(), "versions": versions, "settings": settings,
    }  # fmt: skip


@dataclass
class Report:
    """A table that grows, beside the data it is made from."""

    title: str
    columns: Sequence[str]
    head: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, cells: Sequence[Any], data: dict[str, Any]) -> None:
        """One line of the table; ``data`` is what the JSON holds of it. Progress goes to standard error."""
        self.table.append([str(cell) for cell in cells])
        self.rows.append(data)
        click.echo("  ".join(self.table[-1]), err=True)

    def describe(self) -> str:
        h = self.head
        versions = ", ".join(
            f"{name} {version or '(not installed)'}" for name, version in h["versions"].items()
        )
        settings = ", ".join(f"{name} {value}" for name, value in h["settings"].items() if value is not None)
        return f"{h['processor']} ({h['llvm_cpu']}, {h['isa']}, {h['cores']} cores); {versions}; {settings}"

    def text(self) -> str:
        lines = [list(self.columns), *self.table]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        body = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, self.describe(), "", *body, "", *self.notes])

    def markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [f"| {' | '.join(line)} |" for line in (self.columns, rule, *self.table)]
        return "\n".join([f"{self.describe()}.", "", *lines, "", *[f"{note}\n" for note in self.notes]])

    def finish(self, json_file: Path | None, markdown: bool) -> None:
        """Prints the table and writes the JSON."""
        click.echo(self.markdown() if markdown else self.text())
        if json_file:
            data = {"title": self.title, **self.head, "notes": self.notes, "rows": self.rows}
            json_file.write_text(json.dumps(data, indent=1) + "\n")


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json and --markdown, which every command has."""
    for option in (
        click.option("--markdown", is_flag=True, help="Print the table as Markdown."),
        click.option(
            "--json", "json_file", type=click.Path(path_type=Path), help="Write every round to this file."
        ),
    ):
        command = option(command)
    return command


def rounds_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--rounds", default=default, show_default=True, type=click.IntRange(2), help="Interleaved rounds."
    )


threads_option = click.option(
    "--threads", multiple=True, type=click.IntRange(1), default=(1, 2), show_default=True,
    help="Threads of both sides; may be given several times.",
)  # fmt: skip
isa_option = click.option(
    "--isa", type=click.Choice(["avx512", "avx2"]), help="Hold both sides to this instruction set."
)

"""``python -m bench COMMAND``: one command for each question about speed, and three about errors, each printing one table."""

from __future__ import annotations

import importlib

import click

# Loaded when asked for: a command imports only the peers that it needs.
_COMMANDS = {
    "networks": "bench.networks",
    "inference": "bench.inference",
    "layers": "bench.layers",
    "shapes": "bench.shapes",
    "roofline": "bench.roofline",
    "scaling": "bench.scaling",
    "memory": "bench.memory",
    "batch": "bench.batch",
    "data": "bench.data",
    "compile": "bench.startup",
    "errors": "bench.errors",
    "curves": "bench.curves",
    "zoo": "bench.zoo",
}


class Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return importlib.import_module(_COMMANDS[name]).command if name in _COMMANDS else None


@click.group(cls=Lazy, help=__doc__)
def main() -> None:
    pass


if __name__ == "__main__":
    main(prog_name="python -m bench")

"""`--gently`: a command beside a running daemon that has time."""

import os

import click

gently_option = click.option("--gently", is_flag=True, help="At the lowest priority, beside other work.")


def be_gentle(gently: bool) -> None:
    """Take what the others leave over, where that is asked for."""
    if gently:
        os.nice(19)

"""The command ``spikelfp``, or ``python -m spikelfp_lab``."""

import argparse
import sys

from spikelfp_lab.errors import SpikeLFPError


def main() -> None:
    """One command so far: ``spikelfp report FOLDER``."""
    parser = argparse.ArgumentParser(prog="spikelfp", description="Spikes teach LFP decoders.")
    commands = parser.add_subparsers(dest="command", required=True)
    about = "train on the sessions of a folder, and say whether distillation pays there"
    one = commands.add_parser("report", help=about, description=about)
    one.add_argument("folder", help="with .nwb or .zarr sessions in it or one level down")
    one.add_argument("--behavior", help="what NWB files have as behavior, where there are several")
    one.add_argument("--preset", default="demo", help="demo or smoke")
    one.add_argument("--held-out", nargs="+", default=(), help="sessions subject/session")
    one.add_argument("--output", default="spikelfp_report", help="folder for models and the page")
    asked = vars(parser.parse_args())
    del asked["command"]
    from spikelfp_lab.reporting import report

    try:
        print(report(**asked))
    except SpikeLFPError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()

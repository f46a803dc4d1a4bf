"""python -m spikelfp_lab.live: replay a session as a stream, or decode one."""

import argparse

from spikelfp_lab.analysis import ReadOut
from spikelfp_lab.live import Decoder, replay, run
from spikelfp_lab.models import load


def main() -> None:
    """Two commands, ``replay`` and ``run``."""
    parser = argparse.ArgumentParser(prog="python -m spikelfp_lab.live", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("replay", help="send the LFP of a session as a stream")
    one.add_argument("session", help="a .nwb or .zarr session")
    one.add_argument("--name", default="lfp", help="of the stream")
    one.add_argument("--speed", type=float, default=1.0)
    two = commands.add_parser("run", help="decode a stream")
    two.add_argument("model", help="folder of a causal LFP model")
    two.add_argument("--session", required=True, help="of the model's vocabulary")
    two.add_argument("--readout", help="a saved read-out")
    two.add_argument("--inlet", default="lfp", help="name of the stream to read")
    two.add_argument("--outlet", help="name of a stream to make")
    two.add_argument("--record", help="a .nwb to write at the end")
    two.add_argument("--seconds", type=float, default=float("inf"))
    two.add_argument("--raw-rate-hz", type=float, help="where the stream is of raw samples")
    asked = parser.parse_args()
    if asked.command == "replay":
        print(replay(asked.session, name=asked.name, speed=asked.speed), "frames sent")
        return
    readout = ReadOut.load(asked.readout) if asked.readout else None
    options = {"session": asked.session, "readout": readout, "raw_rate_hz": asked.raw_rate_hz}
    decoder = Decoder(load(asked.model), **options)
    streams = {key: getattr(asked, key) for key in ("inlet", "outlet", "record", "seconds")}
    late = run(decoder, **streams)["delay_s"]
    print(decoder)
    print(
        f"{len(late)} bins, decoded {1000 * sorted(late)[len(late) // 2]:.1f} ms after their time"
    )


if __name__ == "__main__":
    main()

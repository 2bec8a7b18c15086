"""Samplers that add noise, by how near their samples come to the data: python -m bench.noise.

On exact problems (bench/instruments/problems.py) against samples of the data; on score networks that others trained
(bench/instruments/score_network.py) against samples of a long run of the same network; and on this repository's
networks of digits and of photographs, these also under CFG, against digits and held-out crops. Every sampler of ComfyUI
that adds noise at its defaults (on networks some of them), this pack's two in mode calibrated, and some of its samplers
without noise, at equal model calls. Writes noise.csv, NOISE.md and the plot into bench/results/.
"""

from __future__ import annotations

import sys

from ..instruments import command, environment, rows
from ..instruments.packages import FetchError
from ..instruments.score_network import GALAXYGRAD
from . import page
from .measure import BUDGETS, GUIDANCE, NETWORKS, PICTURES, PROBLEMS, SAMPLES, measure
from .page import Row


def main() -> int:
    parser = command.parser("noise", __doc__, SAMPLES, BUDGETS)
    parser.add_argument(
        "--pictures",
        type=int,
        default=PICTURES,
        help="samples a run on galaxy networks of 32 x 32 numbers; a quarter as many of larger pictures",
    )
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS), help="exact problems")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--guidance", nargs="*", type=float, default=list(GUIDANCE), help="CFG on photographs")
    parser.add_argument("--resume", action="store_true", help="keep the problems and networks that the file has")
    options = parser.parse_args()
    folder = command.begin(options)
    path = folder / "noise.csv"
    record = path.with_suffix(".json")
    if not options.report:
        try:
            if options.networks:
                GALAXYGRAD.wheel()
        except FetchError as error:
            print(error, file=sys.stderr)
            return 1
        environment.record(record, command.text(parser, options, ["resume"]), [GALAXYGRAD])
        measure(options, path)
    print(path, *page.write(rows.need(path, Row), folder, environment.sentence(record)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

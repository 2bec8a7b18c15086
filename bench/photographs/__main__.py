"""A learned class-conditional network of photographs under classifier-free guidance: python -m bench.photographs.

Crops of photographs are like the pictures that people make. They have flat skies next to hard edges, fine texture and
dark places. bench/make/photographs.py trains a network on them. Here it is sampled through ComfyUI at CFG 1, 3 and 7,
as a sigma-space and as a flow model. It is judged by the error, the distance to held-out crops, and the noise in flat
places. This writes photographs.csv, PHOTOGRAPHS.md, the plot and the sheets of pictures into bench/results/.
"""

from __future__ import annotations

import sys

from ..instruments import command, environment, rows
from . import page
from .measure import BUDGETS, SAMPLES, Row, measure


def main() -> int:
    parser = command.parser("photographs", __doc__, SAMPLES, BUDGETS)
    options = parser.parse_args()
    folder = command.begin(options)
    csv = folder / "photographs.csv"
    record = csv.with_suffix(".json")
    sheets = []
    if not options.report:
        pictures, flat = measure(options.samples, options.budgets, csv)
        environment.record(record, command.text(parser, options), samples=options.samples, flat_share=flat)
        sheets = page.write_sheets(pictures, folder)
    told = (environment.told(record, name) for name in ("flat_share", "samples"))
    print(csv, *page.write(rows.need(csv, Row), *told, folder, environment.sentence(record)), *sheets, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""ERK-Guid: embedded Runge-Kutta guidance for diffusion sampling.

Kong, Lee, Hong, Kim: "Error as Signal: Stiffness-Aware Diffusion Sampling via Embedded
Runge-Kutta Guidance", ICLR 2026, arXiv 2603.03692.

Torch and the standard library only. The way of the data through one step:

    inputs         checks what people give
    integrate      evaluates the model, reports, and drives
    history        remembers what a solver looks back on
    solvers        make the unguided step and name its embedded pair
    guidance       turns what the step tells into a correction
    trace          keeps what was seen

A solver knows nothing of guidance, and guidance nothing of which solver it corrects.
"""

from .evaluation import Evaluation
from .guidance import MODES, SETTINGS, paper_preset
from .inputs import make_guidance, make_solver
from .integrate import integrate
from .noise_process import FLOW, SIGMA_SPACE, NoiseProcess
from .pair import EmbeddedPair
from .solvers import DEIS, SOLVERS, Multistep, Solver
from .trace import QUANTITIES, MeasuredStep, Observer, RunInfo, StepRecord, Trace, json_safe

__all__ = [
    "DEIS",
    "FLOW",
    "MODES",
    "QUANTITIES",
    "SETTINGS",
    "SIGMA_SPACE",
    "SOLVERS",
    "EmbeddedPair",
    "Evaluation",
    "MeasuredStep",
    "Multistep",
    "NoiseProcess",
    "Observer",
    "RunInfo",
    "Solver",
    "StepRecord",
    "Trace",
    "integrate",
    "json_safe",
    "make_guidance",
    "make_solver",
    "paper_preset",
]

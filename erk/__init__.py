"""ERK-Guid: embedded Runge-Kutta guidance for diffusion sampling.

Kong, Lee, Hong, Kim: "Error as Signal: Stiffness-Aware Diffusion Sampling via Embedded
Runge-Kutta Guidance", ICLR 2026, arXiv 2603.03692.

It needs only torch and the standard library. How data flows through one step:

    inputs         checks the options and the schedule
    integrate      calls the model, reports progress, and runs the loop
    history        remembers the past evaluations that a solver needs
    solvers        make the unguided step and name its embedded pair
    guidance       turns what the step reveals into a correction
    error          judges each step afterwards
    continuation   what a run hands on to the run that continues it
    trace          records what was measured
    schedule       plans the next run's noise levels from traces

A solver knows nothing about guidance. Guidance does not know which solver it corrects.
"""

from .continuation import Continuation
from .evaluation import Evaluation
from .guidance import MODES, SETTINGS, paper_preset
from .inputs import check_noise, make_guidance, make_solver
from .integrate import integrate
from .noise_process import FLOW, SIGMA_SPACE, NoiseProcess
from .pair import EmbeddedPair
from .schedule import Plan, Planner, plan_schedule
from .solvers import DEIS, NOISY, SOLVERS, Ancestral, Multistep, Solver
from .trace import QUANTITIES, MeasuredStep, Observer, RunInfo, StepRecord, Trace, json_safe

__all__ = [
    "DEIS",
    "FLOW",
    "MODES",
    "NOISY",
    "QUANTITIES",
    "SETTINGS",
    "SIGMA_SPACE",
    "SOLVERS",
    "Ancestral",
    "Continuation",
    "EmbeddedPair",
    "Evaluation",
    "MeasuredStep",
    "Multistep",
    "NoiseProcess",
    "Observer",
    "Plan",
    "Planner",
    "RunInfo",
    "Solver",
    "StepRecord",
    "Trace",
    "check_noise",
    "integrate",
    "json_safe",
    "make_guidance",
    "make_solver",
    "paper_preset",
    "plan_schedule",
]

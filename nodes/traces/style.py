"""What a plot of traces can show, and what it looks like."""

from __future__ import annotations

from dataclasses import dataclass

from .language import translatable


@dataclass(frozen=True)
class Theme:
    """Colours of a plot. The runs' colours are Okabe and Ito's, which colour-blind people can distinguish too."""

    background: str
    text: str
    muted: str
    grid: str
    runs: tuple[str, str, str, str]
    corrected: str
    """The colour of corrected steps, if there is only one run."""
    scale: str
    """The colour of the data's estimated scale, if another quantity is in the same panel."""
    high: str
    """The colour of values that are too high."""


THEMES = {
    "light": Theme(
        background="#ffffff", text="#1f2328", muted="#5b6470", grid="#e3e6ea", runs=("#0072B2", "#D55E00", "#009E73",
        "#CC79A7"),
        corrected="#D55E00", scale="#A3467C", high="#B3261E",
    ),
    "dark": Theme(
        background="#1b1d21", text="#e6e8eb", muted="#a4acb7", grid="#34383f", runs=("#56B4E9", "#E69F00", "#00B98A",
        "#E194BF"),
        corrected="#E69F00", scale="#E194BF", high="#FF8A80",
    ),
}  # fmt: skip

# Line, marker and width differ too, so that runs can be distinguished in grey and where they overlap.
STYLES = (("solid", "o", 2.4), ((0, (6, 2)), "s", 1.9), ((0, (5, 1.5, 1, 1.5)), "^", 1.6), ((0, (1.5, 1.5)), "D", 1.5))


@dataclass(frozen=True)
class Quantity:
    """What a panel shows: a field of StepRecord, and its texts."""

    values: str
    title: str
    short_title: str
    label: str
    factor: float = 1.0
    limit: float | None = None
    """Above it a value is too high."""
    foot: float | None = None
    """Values below it, 0 among them, are all the same to a reader."""


QUANTITIES = {
    "rho-hat": Quantity(
        "stiffness",
        title=translatable("Stiffness: how fast the ODE changes along its stiffest direction"),
        short_title=translatable("Stiffness"),
        label=r"$\hat\rho$   ($1/\sigma$)",
    ),
    "h*rho-hat": Quantity(
        "h_stiffness",
        title=translatable("Step length times stiffness: above 1 the step is too long"),
        short_title=translatable("Step length times stiffness"),
        label=r"$h\,\hat\rho$",
        limit=1.0,
    ),
    "correction size": Quantity(
        "correction",
        title=translatable("Size of the correction, against its step"),
        short_title=translatable("Size of the correction"),
        label=translatable("% of the step"),
        factor=100,
        foot=1e-3,
    ),
    "estimated S": Quantity(
        "data_std",
        title=translatable("Estimated scale S of the data, where the step shows one"),
        short_title=translatable("Estimated scale of the data"),
        label="S",
    ),
}  # fmt: skip

OVERVIEW = "overview"
PLOTS = (OVERVIEW, *QUANTITIES)
AXES = ("step", "sigma")

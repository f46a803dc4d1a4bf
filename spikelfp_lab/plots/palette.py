"""One color for each model in all figures, and the order they are shown in."""

# The paper's two colors, then the rest chosen to stay apart in hue and lightness also for readers
# with deutan, protan or tritan color vision (the tests simulate them). Kin share a hue: LFP is
# blue, both modalities violet, spikes green, what was distilled orange.
_MODELS = {
    "SS-LFP": "#7cc0f0",
    "MS-LFP": "#0928ad",
    "SS-MM (LFP only)": "#f3c6e2",
    "SS-MM": "#a05fc0",
    "SS-Teacher": "#afdc86",
    "Teacher": "#127a5c",
    "Distilled": "#d17f41",
    "MS-Distilled": "#b9041f",
    "MS-Distilled, centered": "#e4b908",
}
# Controls are pale or dull kin of what they control for; ridges are gray, the other classical
# decoders plum, the bound black, the clock alone olive.
_CONTROLS = {
    "Untrained": "#f2e2b8",
    "Shuffled teacher": "#f0a58f",
    "Other subject's teacher": "#d1f5dd",
    "Random teacher": "#6b8b5f",
    "Raw LFP ridge": "#858585",
    "Band power ridge": "#bebebe",
    "Spikes ridge": "#363636",
    "Wiener": "#c869bd",
    "Kalman": "#7c0a77",
    "GRU": "#a63e87",
    "PSID": "#8c4269",
    "Linear bound": "#141313",
    "Time in trial": "#66541f",
}

MODEL_COLORS = _MODELS | _CONTROLS
"""Model -> color. Keys are the names that tidy scores use in ``model``."""

MODEL_ORDER = tuple(MODEL_COLORS)
"""Order on an axis: the models, then the controls and references."""

CONTROLS = tuple(_CONTROLS)
"""Controls and references: drawn apart from the models."""

OTHER_COLOR = "#a08c5b"


def model_color(model: str) -> str:
    """Color of a model; names that the palette does not know share one.

    >>> model_color("Distilled")
    '#d17f41'
    """
    return MODEL_COLORS.get(model, OTHER_COLOR)


def in_order(models: list[str]) -> list[str]:
    """Sort models as ``MODEL_ORDER`` does; unknown ones come between the models and the controls.

    >>> in_order(["Raw LFP ridge", "Mine", "Distilled", "SS-LFP"])
    ['SS-LFP', 'Distilled', 'Mine', 'Raw LFP ridge']
    """
    first = [name for name in MODEL_ORDER if name in models and name not in CONTROLS]
    other = [name for name in dict.fromkeys(models) if name not in MODEL_ORDER]
    return first + other + [name for name in CONTROLS if name in models]

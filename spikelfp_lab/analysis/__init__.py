"""From latents to numbers: read-outs of behavior, references, alignment of latents, statistics."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "alignment": ["cca", "linear_cka", "procrustes", "retrieval"],
        "decoders": ["gru", "kalman", "psid", "wiener"],
        "readout": ["ReadOut", "decode", "fit_readout", "r2_by_axis", "score_predicted"],
        "stats": [
            *("bootstrap_interval", "control_false_discoveries"),
            *("paired_test", "paired_tests", "summarize"),
        ],
    },
)

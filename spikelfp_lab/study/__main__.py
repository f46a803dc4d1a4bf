"""Train all that the notebooks of the study that the environment asks for need."""

import os

from spikelfp_lab.study import Study

if __name__ == "__main__":
    core = os.environ.get("CORE", "") not in ("", "0")
    study = Study.from_environment()
    study.train("comparison") if core else study.train()

"""Train all that the notebooks of the study that the environment asks for need."""

from spikelfp_lab.study import Study

if __name__ == "__main__":
    Study.from_environment().train()

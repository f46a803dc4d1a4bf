"""Widgets for notebooks: look into sessions, compare models, watch a training.

Each has a *state*, plain traitlets that tests drive without a browser, and a thin *view* of ipywidgets over it.
"""

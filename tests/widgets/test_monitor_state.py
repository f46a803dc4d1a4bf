"""The state of the training monitor: time left by a fake clock, the best step, how it ends."""

import pandas as pd
import pytest
import traitlets

from spikelfp_lab.widgets.monitor_state import MonitorState, clock_text


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def history(**scores: float) -> pd.DataFrame:
    """``s10=0.5``: a validation score of 0.5 at step 10."""
    rows = [(int(name[1:]), "val", "score", value) for name, value in scores.items()]
    return pd.DataFrame(rows, columns=["step", "split", "metric", "value"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock) -> MonitorState:
    state = MonitorState(clock)
    state.begin(step=0, steps=400)
    return state


def test_time_left_is_what_the_rest_takes_at_the_speed_so_far(state, clock):
    assert state.left_s is None and state.started == 1000.0
    clock.now += 10
    state.update(history(s100=1.0))
    assert state.rates == [10.0]
    assert state.left_s == pytest.approx(30.0)
    clock.now += 20
    state.update(history(s100=1.0, s200=0.5))
    assert state.rates == [10.0, 5.0]
    assert state.left_s == pytest.approx(200 * 30 / 200)


def test_time_left_follows_the_last_five_validations(clock):
    state = MonitorState(clock)
    state.begin(step=0, steps=1000)
    for number in range(1, 11):
        clock.now += 1 if number <= 5 else 100
        state.update(history(**{f"s{10 * number}": 1.0}))
    assert state.left_s == pytest.approx(900 * 500 / 50)


def test_a_resumed_run_is_timed_from_where_it_goes_on(clock):
    state = MonitorState(clock)
    state.begin(step=300, steps=400)
    clock.now += 5
    state.update(history(s100=1.0, s300=0.5, s350=0.4))
    assert state.rates == [10.0]
    assert state.left_s == pytest.approx(5.0)


def test_a_clock_that_stands_still_is_no_error(state):
    state.update(history(s10=1.0))
    assert state.left_s == 0.0


def test_the_best_step_is_the_first_with_the_lowest_score(state):
    state.update(history(s10=3.0, s20=1.0, s30=1.0, s40=2.0))
    assert (state.step, state.best_step, state.best_value) == (40, 20, 1.0)
    assert "best at step 20" in state.text


def test_added_metrics_are_rows_of_the_history_that_is_shown(state):
    state.extra("r2", 0.0)
    given = history(s10=1.0)
    state.update(given)
    state.extra("r2", 0.25)
    state.show(given)
    shown = state.history[state.history["metric"] == "r2"]
    assert shown[["step", "value"]].to_numpy().tolist() == [[0, 0.0], [10, 0.25]]
    assert len(given) == 1


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        ("finished", "finished at step 40 of 400; weights of step 40 kept"),
        ("stopped", "stopped early at step 40 of 400; weights of step 40 kept"),
        ("interrupted", "interrupted at step 40 of 400; with a folder, the same call goes on"),
        ("failed", "failed at step 40 of 400"),
    ],
)
def test_it_says_how_training_ended(state, clock, ending, says):
    clock.now += 1
    state.update(history(s40=1.0))
    state.end(ending)
    assert state.text.startswith(says)
    assert state.left_s is None
    with pytest.raises(traitlets.TraitError):
        state.ending = "exploded"


def test_a_stop_is_asked_for_only_while_training_runs(state):
    state.stop()
    assert state.stop_requested and "stopping at the next validation" in state.text
    state.end("stopped")
    state.begin(step=0, steps=10)
    assert not state.stop_requested
    state.end("finished")
    state.stop()
    assert not state.stop_requested


def test_a_new_training_forgets_the_last_one(state, clock):
    state.extra("r2", 0.5)
    clock.now += 1
    state.update(history(s10=1.0))
    state.end("finished")
    state.begin(step=0, steps=7)
    assert (state.step, state.steps, state.history, state.best_step) == (0, 7, None, None)
    assert (state.rates, state.left_s, state.ending) == ([], None, "")
    state.update(history(s7=2.0))
    assert len(state.history) == 1


def test_clock_text():
    assert [clock_text(s) for s in (0, 59.6, 600, 3600)] == ["0:00", "1:00", "10:00", "1:00:00"]

"""What all widgets are made of: jobs that end when asked, messages that tell, controls that go back."""

import threading

import ipywidgets
import matplotlib.pyplot as plt
import pytest
import traitlets
from matplotlib.figure import Figure

from spikelfp_lab.errors import DataError
from spikelfp_lab.widgets.parts import Job, Message, Picture, button, control, job_bar, link


def test_a_job_reports_how_far_it_is():
    job, seen = Job(), []
    job.observe(lambda change: seen.append(change["new"]), "share")
    job.start(lambda report: [report(share, "at work") for share in (0.25, 0.5)])
    job.wait()
    assert seen == [0.25, 0.5, 1.0] and not job.running and job.text == "at work"


def test_a_cancelled_job_ends_at_its_next_report():
    job, begun, go, after = Job(), threading.Event(), threading.Event(), []

    def work(report):
        report(0.1, "first")
        begun.set()
        go.wait(10)
        report(0.2, "second")
        after.append("never")

    job.start(work)
    assert begun.wait(10)
    job.cancel()
    go.set()
    job.wait()
    assert job.text == "cancelled" and after == [] and job.share == 0.1 and job.error == ""


def test_a_job_that_was_cancelled_starts_again():
    job = Job()
    job.cancel()  # nothing to cancel, and nothing that later work would stumble over
    job.start(lambda report: report(0.5, "half"))
    job.wait()
    assert job.share == 1.0


def test_one_job_at_a_time():
    job, go, runs = Job(), threading.Event(), []
    job.start(lambda report: (runs.append(1), go.wait(10)))
    job.start(lambda report: runs.append(2))
    go.set()
    job.wait()
    assert runs == [1]


def test_a_failed_job_says_why():
    def work(report):
        raise DataError("No LFP in I/s01: choose another session.")

    job = Job()
    bar = job_bar(job, "Compute", "Encode", lambda: job.start(work))
    bar.children[0].click()
    job.wait()
    assert job.error.startswith("No LFP") and "No LFP" in bar.children[3].value
    assert not bar.children[0].disabled and bar.children[1].disabled


def test_messages_are_escaped_and_an_error_is_forgotten_when_all_is_well():
    message = Message()
    with message.errors():
        raise DataError("<script>alert(1)</script>")
    assert message.failed and "<script>" not in message.widget.value
    assert "spikelfp-error" in message.widget._dom_classes
    message.say("fine")
    assert not message.failed and "spikelfp-error" not in message.widget._dom_classes


def test_an_error_that_no_user_can_mend_is_raised():
    with pytest.raises(ZeroDivisionError), Message().errors():
        _ = 1 / 0


def test_a_control_follows_its_state_and_the_state_its_control():
    class State(traitlets.HasTraits):
        span_s = traitlets.Float(10.0, min=0.1)

    state, message = State(), Message()
    box = control(ipywidgets.FloatText, "Span (s)", "How much is shown", value=1.0)
    link(state, "span_s", box, message)
    assert box.value == 10.0
    state.span_s = 5.0
    assert box.value == 5.0
    box.value = 2.0
    assert state.span_s == 2.0 and not message.failed
    box.value = -2.0
    assert state.span_s == box.value == 2.0 and message.failed


def test_pictures_leave_no_figures_open():
    before = plt.get_fignums()
    picture = Picture()
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    picture.show(figure)
    first = bytes(picture.widget.value)
    picture.clear()
    assert first.startswith(b"\x89PNG") and not picture.widget.value
    assert plt.get_fignums() == before


def test_a_button_calls_once_a_click():
    clicks = []
    button("Go", "Do it", lambda: clicks.append(1)).click()
    assert clicks == [1]

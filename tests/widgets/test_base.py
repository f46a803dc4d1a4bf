"""What all widgets are made of: jobs that end, messages that can be read."""

import re
import threading
from pathlib import Path

import pytest
from matplotlib.colors import to_rgb

from spikelfp_lab import widgets
from spikelfp_lab.errors import DataError
from spikelfp_lab.widgets.base import Job, Message


def test_a_cancelled_job_ends_at_its_next_report_and_starts_again():
    begun, go, after = threading.Event(), threading.Event(), []

    def work(report):
        report(0.1, "first")
        begun.set()
        go.wait(10)
        report(0.2, "second")
        after.append("never")

    job = Job("Compute", "Encode", work)
    job.start()
    assert begun.wait(10)
    job.work = lambda report: after.append("one at a time")
    job.start()
    job.cancel()
    go.set()
    job.wait()
    assert (job.text.value, after, job.progress.value, job.error) == ("cancelled", [], 0.1, "")
    job.work = lambda report: report(0.5, "half")
    job.start()
    job.wait()
    assert job.progress.value == 1.0 and job.text.value == "half"


def test_a_failed_job_says_why():
    def work(report):
        raise DataError("No LFP in I/s01: choose another session.")

    job = Job("Compute", "Encode", work)
    job.begin.click()
    job.wait()
    assert job.error.startswith("No LFP") and "No LFP" in job.text.value
    assert not job.begin.disabled and job.end.disabled


def test_messages_are_escaped_and_an_error_goes_when_all_is_well():
    message = Message()
    with message.errors():
        raise DataError("<script>alert(1)</script>")
    assert message.failed and "<script>" not in message.widget.value
    message.say("fine")
    assert not message.failed and "spikelfp-error" not in message.widget._dom_classes
    with pytest.raises(ZeroDivisionError), message.errors():
        _ = 1 / 0


def luminance(color: str) -> float:
    """That of WCAG 2."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_can_be_read_on_white_and_on_a_dark_theme():
    """Every text color is the page's own, or has a contrast of 4.5 on both."""
    white, dark = luminance("#ffffff") + 0.05, luminance("#111111") + 0.05
    source = "".join(path.read_text() for path in Path(widgets.__file__).parent.glob("*.py"))
    colors = re.findall(r"(?<![-\w])color:\s*([#\w]+)(?=[;\"'(])", source)
    assert luminance("#b00020") + 0.05 < 4.5 * dark  # what messages had once
    for color in {*colors} - {"inherit", "currentColor", "var"}:
        assert 4.5 * dark <= luminance(color) + 0.05 <= white / 4.5, color

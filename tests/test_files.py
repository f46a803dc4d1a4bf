"""Files that are whole or not there: whatever is killed, at whichever operation, leaves the old or
the new one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from spikelfp_lab._files import LOCK, check_writable, settle, workspace, write_whole

# A process without threads forks one victim after the other; the n-th kills itself after its n-th
# operation on files.
KILLED_AT_EACH_OPERATION = """
import os, signal, sys
from pathlib import Path
from spikelfp_lab._files import settle, whole, write_whole

def attempt(place, content, kind):
    if kind == "file":
        return write_whole(place, content.encode())
    with whole(place) as new:
        new.mkdir()
        (new / "a").write_text(content)
        (new / "b").write_text(content)

def read(place, kind):
    settle(place)
    assert [p.name for p in place.parent.iterdir()] == ["x"], list(place.parent.iterdir())
    (text,) = {(place / name).read_text() for name in (("a", "b") if kind == "folder" else ("",))}
    return text

def victim(place, kind, at):
    done = 0
    def counted(operation):
        def run(*args, **options):
            nonlocal done
            result = operation(*args, **options)
            done += 1
            if done == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return run
    for name in ("rename", "replace", "fsync", "mkdir", "unlink", "rmdir", "open"):
        setattr(os, name, counted(getattr(os, name)))
    attempt(place, "new", kind)

root, kills = Path(sys.argv[1]), 0
for kind in ("file", "folder"):
    seen = set()
    for at in range(1, 1000):
        place = root / f"{kind}-{at}" / "x"
        attempt(place, "old", kind)
        child = os.fork()
        if not child:
            try:
                victim(place, kind, at)
            finally:
                os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        seen.add(read(place, kind))
        attempt(place, "newest", kind)
        assert read(place, kind) == "newest"
        if not killed:
            break
        kills += 1
    assert seen == {"old", "new"}, seen
print(kills)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_a_kill_at_any_operation_leaves_the_old_or_the_new(tmp_path):
    command = [sys.executable, "-c", KILLED_AT_EACH_OPERATION, str(tmp_path)]
    options = {"cwd": Path(__file__).parents[1], "capture_output": True, "text": True}
    ended = subprocess.run(command, timeout=300, **options)
    assert ended.returncode == 0 and int(ended.stdout) > 30, ended.stderr


def left_behind(place: Path, **content: str) -> Path:
    """What a process that was killed leaves: its workspace, unlocked."""
    folder = place.with_name(f".{place.name}.0badcafe.tmp")
    folder.mkdir()
    for name, text in {LOCK: "", **content}.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", ["a.txt", "a[1].txt", "*.txt", "..x"])
def test_what_a_killed_process_left_is_cleared_away_and_what_a_living_one_writes_is_not(
    tmp_path, name
):
    place = tmp_path / name
    other = left_behind(tmp_path / "b.dat", partial="of another place")
    left = left_behind(place, partial="half a")
    with FileLock(left / LOCK):
        write_whole(place, b"whole")
        assert place.read_bytes() == b"whole" and (left / "partial").exists()
    settle(place)
    assert set(tmp_path.iterdir()) == {place, other}


def test_what_was_moved_aside_is_put_back_once_and_links_are_not_followed(tmp_path):
    (tmp_path / "in").mkdir()
    place = tmp_path / "in" / "a.txt"
    for old in ("old", "older"):
        left_behind(place, old=old, partial="new")
        settle(place)
        assert place.read_text() == "old" and list(place.parent.iterdir()) == [place]
    elsewhere = left_behind(tmp_path / "b.txt", old="precious")
    place.with_name(".a.txt.0badcafe.tmp").symlink_to(elsewhere)
    write_whole(place, b"whole")
    assert (elsewhere / "old").read_text() == "precious"


def test_an_error_while_writing_leaves_nothing_and_a_check_neither(tmp_path):
    place = tmp_path / "a.txt"
    write_whole(place, b"old")
    with pytest.raises(KeyboardInterrupt), workspace(place):
        raise KeyboardInterrupt
    check_writable(tmp_path / "deep" / "er")
    assert place.read_bytes() == b"old" and list(tmp_path.iterdir()) == [place]

"""Names by which TensorFlow opens any path."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from mpl_tf.common import plain_path
from tests.conftest import ROOT


@pytest.mark.parametrize("path", ["runs/a", "/x/y z/ü #1/%d{}$5", "", "a\nb"])
def test_what_is_plain_stays(path):
    assert plain_path.plain(path) == path


@pytest.mark.parametrize("name", [b"[1,2]", b"a*b", b"?", b"x\\y", b"\xff"])
def test_another_name_is_the_same_file(tmp_path, name):
    folder = tmp_path / os.fsdecode(name) / "inner"
    folder.mkdir(parents=True)
    plain = plain_path.plain(str(folder))
    plain.encode("utf-8")
    assert not set("*?[\\") & set(plain) and os.path.basename(plain) == "inner"
    assert os.path.samefile(plain, folder) and plain_path.plain(folder) == plain
    file = tmp_path / os.fsdecode(name + b".keras")
    pathlib.Path(plain_path.plain(file)).write_text("x")        # and of what is not there yet
    assert file.read_text() == "x" and plain_path.plain(file).endswith(".keras")
    shutil.rmtree(os.path.dirname(os.path.dirname(plain)))      # as systems clear /tmp
    assert os.path.samefile(plain_path.plain(folder), folder)


def test_links_are_removed_at_the_end_and_what_they_name_stays(tmp_path):
    (tmp_path / "[1]").mkdir()
    (tmp_path / "[1]" / "file").write_text("x")
    code = ("from mpl_tf.common import plain_path; import sys; "
            "print(plain_path.plain(sys.argv[1]))")
    link = subprocess.run([sys.executable, "-c", code, str(tmp_path / "[1]" / "file")], cwd=ROOT,
                          env={**os.environ, "TMPDIR": str(tmp_path)}, text=True,
                          capture_output=True, check=True).stdout.strip()
    assert link.startswith(f"{tmp_path}{os.sep}mpl_tf-")
    assert os.listdir(tmp_path) == ["[1]"] and (tmp_path / "[1]" / "file").read_text() == "x"

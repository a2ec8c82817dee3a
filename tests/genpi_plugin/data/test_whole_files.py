"""A file is whole or not there, whatever happens while it is written."""

from __future__ import annotations

import pytest

from genpi_plugin.data.whole_files import write_whole


def test_what_is_not_written_to_its_end_is_not_there(tmp_path):
    path = tmp_path / "folder" / "file.json"

    def half(unfinished):
        unfinished.write_text("ha")
        assert not path.exists() or path.read_text() == "whole"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, half)
    assert not path.exists()
    write_whole(path, lambda unfinished: unfinished.write_text("whole"))
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, half)
    assert path.read_text() == "whole"

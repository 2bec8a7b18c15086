"""What the compatibility page is made from."""

from __future__ import annotations

import pytest

from devtools.make import compatibility

ROW = {"situation": "one", "model": "demo", "solvers": ["abm", "heun"], "modes": ["off"], "seen": "finite"}


def test_a_recorded_row_must_be_seen_again(tmp_path, monkeypatch):
    """Fewer solvers are enough for the short selection, but nothing else may differ."""
    monkeypatch.setattr(compatibility, "RECORD", tmp_path / "docs" / "compatibility.json")
    monkeypatch.setenv("ERK_GUID_LONG", "1")
    monkeypatch.setenv("ERK_GUID_RECORD", "1")
    compatibility.tell("situations", "one: demo", ROW)
    recorded = compatibility.load()
    assert recorded["rows"] == {"situations": {"one: demo": ROW}}
    assert recorded["versions"]["ComfyUI"].count(".") == 2
    monkeypatch.delenv("ERK_GUID_RECORD")
    compatibility.tell("situations", "one: demo", dict(ROW))
    with pytest.raises(AssertionError, match="record and render it again"):
        compatibility.tell("situations", "one: demo", {**ROW, "solvers": ["abm"]})
    monkeypatch.delenv("ERK_GUID_LONG")
    compatibility.tell("situations", "one: demo", {**ROW, "solvers": ["abm"]})
    with pytest.raises(AssertionError, match="record and render it again"):
        compatibility.tell("situations", "one: demo", {**ROW, "seen": "nearly finite"})

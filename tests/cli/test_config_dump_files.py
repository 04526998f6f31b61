"""`proxy-config -f` with files that are no config dumps."""

from __future__ import annotations

from pathlib import Path

import pytest

from sailcloth.cli import proxy


@pytest.mark.parametrize("content", [b"kind: Service", b"[]", b"", b"\xff\xfe"])
def test_a_file_that_is_no_config_dump_is_named(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(SystemExit):
        proxy._dump_of(file)
    assert "not a config dump of an Envoy" in capsys.readouterr().err

"""Archives of images that we write: read by the local cluster's reader, and the same bytes each time."""

from __future__ import annotations

import tarfile
from pathlib import Path

from images import oci
from sailcloth.local.images import archive
from sailcloth.local.images.layers import Tree

NAME = "example.com/app:1"


def written(folder: Path) -> Path:
    """An image of two layers, made of new files."""
    source = folder / "source"
    (source / "sub").mkdir(parents=True)
    (source / "program").write_text("a program\n")
    (source / "program").chmod(0o775)
    (source / "sub" / "link").symlink_to("../program")
    (folder / "hosts").write_text("localhost\n")
    layers = folder / "lower", folder / "upper"
    oci.layer(layers[0], [("/opt/app", source), ("etc/hosts", folder / "hosts")])
    oci.layer(layers[1], [("etc/hosts", source / "program")])
    image = oci.Image(NAME, layers, ("/opt/app/program",), "1337:1337", {"HOME": "/tmp"}, {"a": "b"})
    oci.write(image, folder / "image.tar")
    return folder / "image.tar"


def test_an_image_has_its_layers_and_settings(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    config = archive.unpack(written(tmp_path), NAME, Tree(root, 1 << 20))
    assert (config.entrypoint, config.user, config.env) == (("/opt/app/program",), "1337:1337", {"HOME": "/tmp"})
    assert (root / "opt/app/sub/link").read_text() == "a program\n"
    assert (root / "etc/hosts").read_text() == "a program\n"


def test_files_are_of_root_and_only_its_to_write(tmp_path: Path) -> None:
    written(tmp_path)
    with tarfile.open(tmp_path / "lower") as layer:
        assert {(m.uid, m.gid, m.uname, m.mtime) for m in layer} == {(0, 0, "", 0)}
        assert layer.getmember("opt/app/program").mode == 0o755


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert written(tmp_path / "one").read_bytes() == written(tmp_path / "two").read_bytes()


def test_nothing_unfinished_is_left(tmp_path: Path) -> None:
    written(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"source", "hosts", "lower", "upper", "image.tar"}

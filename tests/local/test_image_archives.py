"""Archives of images: their forms, their layers, and that none of them can reach outside its folder."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from sailcloth.local.images import archive, layers, rootfs_store
from sailcloth.local.images.layers import ArchiveError, Tree

from .image_files import layer, layout, packed, saved, special

CONFIG = {
    "Entrypoint": ["/bin/serve"],
    "Cmd": ["--port", "80"],
    "Env": ["A=1", "B=x=y"],
    "WorkingDir": "/srv",
    "User": "me",
    "StopSignal": "SIGINT",
}
LAYERS = [
    layer({"etc/a": "a1", "etc/b": "b1", "old/x": "x", "old/y": "y", "lib": special(tarfile.SYMTYPE, "usr/lib")}),
    layer({"etc/a": "a2", "etc/.wh.b": "", "old/z": "z", "old/.wh..wh..opq": "", "lib/found": "here"}, compress=False),
]


def tree(folder: Path, limit: int = 1 << 20) -> Tree:
    folder.mkdir()
    return Tree(folder, limit)


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()}


@pytest.mark.parametrize("form", ["layout", "layout.tar", "saved", "saved.tar"])
def test_layers_lie_over_each_other_in_every_form(tmp_path: Path, form: str) -> None:
    kind, _, tar = form.partition(".")
    source = tmp_path / "source"
    if kind == "layout":
        layout(source, LAYERS, CONFIG, "example.com/app:1")
    else:
        saved(source, LAYERS, CONFIG, ["example.com/app:1"])
    if tar:
        source = packed(source, tmp_path / "image.tar")
    made = tree(tmp_path / "root")
    assert archive.is_archive(source)
    found = archive.unpack(source, "example.com/app:1", made)
    assert files(made.root) == {"etc/a": "a2", "old/z": "z", "usr/lib/found": "here"}
    assert (found.entrypoint, found.cmd) == (("/bin/serve",), ("--port", "80"))
    assert (found.env, found.cwd, found.user) == ({"A": "1", "B": "x=y"}, "/srv", "me")
    assert found.stop_signal == "SIGINT"


@pytest.mark.parametrize(
    "hostile",
    [
        {"../out": "x"},
        {"a/../../out": "x"},
        {"link": special(tarfile.LNKTYPE, "../../secret")},
        {"link": special(tarfile.LNKTYPE, "/etc/hostname-that-is-not-in-the-image")},
    ],
    ids=["parent", "parent within", "hard link", "absolute hard link"],
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, hostile: dict[str, str | tarfile.TarInfo]) -> None:
    (tmp_path / "secret").write_text("secret")
    made = tree(tmp_path / "root")
    with pytest.raises(ArchiveError):
        made.apply(io.BytesIO(layer(hostile)), "layer")
    assert not (tmp_path / "out").exists()


def test_links_are_followed_within_the_image_only(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    made = tree(tmp_path / "root")
    hostile: dict[str, str | tarfile.TarInfo] = {
        "abs": special(tarfile.SYMTYPE, str(outside)),
        "up": special(tarfile.SYMTYPE, "../../../../../../" + str(outside)),
        "abs/a": "1",
        "up/b": "2",
        "abs/.wh.keep": "",
    }
    (outside / "keep").write_text("kept")
    made.apply(io.BytesIO(layer(hostile)), "layer")
    assert os.listdir(outside) == ["keep"]
    assert (made.root / str(outside).lstrip("/") / "a").read_text() == "1"
    assert (made.root / str(outside).lstrip("/") / "b").read_text() == "2"


def test_devices_and_rights_of_other_users_are_left_out(tmp_path: Path) -> None:
    made = tree(tmp_path / "root")
    program = tarfile.TarInfo()
    program.mode, program.uid = 0o6755, 4321
    made.apply(
        io.BytesIO(layer({"dev/null": special(tarfile.CHRTYPE), "pipe": special(tarfile.FIFOTYPE), "su": program})), "l"
    )
    assert made.skipped == ["dev/null", "pipe"]
    found = (made.root / "su").stat()
    assert (found.st_mode & 0o7777, found.st_uid) == (0o755, os.geteuid())


def test_size_is_bounded(tmp_path: Path) -> None:
    made = tree(tmp_path / "root", limit=1000)
    with pytest.raises(ArchiveError, match="--max-size"):
        made.apply(io.BytesIO(layer({"bomb": "0" * 2000})), "layer")


def test_a_damaged_layer_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    source = layout(tmp_path / "source", LAYERS, CONFIG)
    for blob in (source / "blobs" / "sha256").iterdir():
        if blob.read_bytes() == LAYERS[1]:
            blob.write_bytes(layer({"etc/a": "other"}))
    store = tmp_path / "store"
    store.mkdir()
    with pytest.raises(ArchiveError, match="another digest"):
        rootfs_store.entry(store, source, "x", [], 100)
    assert os.listdir(store) == []


def test_what_cannot_be_understood_says_so(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    text = tmp_path / "text"
    text.write_text("no archive")
    with pytest.raises(ArchiveError, match="no tar archive"):
        rootfs_store.entry(store, text, "x", [], 100)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ArchiveError, match="no root file system"):
        rootfs_store.entry(store, folder, "x", [], 100)
    (folder / "manifest.json").write_text('[{"Config": 1, "Layers": 2}]')
    with pytest.raises(ArchiveError):
        rootfs_store.entry(store, folder, "x", [], 100)
    (folder / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(ArchiveError, match="can be understood"):
        rootfs_store.entry(store, folder, "x", [], 100)
    several = tmp_path / "several"
    saved(several, LAYERS, CONFIG, ["a:1"])
    (several / "manifest.json").write_text(
        '[{"Config": "config.json", "RepoTags": ["a:1"], "Layers": []}, {"Config": "config.json", "RepoTags": ["b:1"], "Layers": []}]'
    )
    with pytest.raises(ArchiveError, match="a:1, b:1"):
        rootfs_store.entry(store, several, "x", [], 100)
    assert rootfs_store.entry(store, several, "b:1", [], 100)[0]["command"] == ["/bin/serve"]
    assert len(os.listdir(store)) == 1


def test_folders_that_no_image_uses_go(tmp_path: Path) -> None:
    source = layout(tmp_path / "source", LAYERS, CONFIG)
    store = tmp_path / "store"
    store.mkdir()
    kept, _ = rootfs_store.entry(store, source, "x", [], 100)
    rootfs_store.entry(store, source, "y", ["/bin/other"], 100)
    rootfs_store.delete_unused(store, [kept["root"], "/some/where/else"])
    assert [str(store / n / "root") for n in os.listdir(store)] == [kept["root"]]


def test_paths_are_found_as_a_process_inside_finds_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to("/b/../a/file")
    (tmp_path / "loop").symlink_to("loop")
    assert layers.resolve(str(tmp_path), "/a/link") == f"{tmp_path}/a/file"
    assert layers.resolve(str(tmp_path), "../../a/link", last=False) == f"{tmp_path}/a/link"
    with pytest.raises(ArchiveError, match="too many links"):
        layers.resolve(str(tmp_path), "loop")

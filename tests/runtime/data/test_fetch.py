"""Downloads, against a server on this machine: they go on where they broke off, and nothing wrong takes a right name."""

from __future__ import annotations

import http.server
import io
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import md5
from pathlib import Path

import pytest

from runtime.cli.main import main
from runtime.data import fetch
from runtime.data.catalogue import CATALOGUE, Remote
from tests.runtime.data import data_files

FILES: dict[str, bytes] = {}
"""What the server has, by path."""


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `FILES`, from a byte on if asked; breaks the connection after `cut` bytes as often as `breaks` says."""

    cut, breaks, ranges = 0, 0, True
    asked: tuple[str | None, ...] = ()

    def do_GET(self) -> None:
        content, wanted = FILES.get(self.path.lstrip("/")), self.headers["Range"]
        Server.asked += (wanted,)
        if content is None:
            self.send_error(404)
            return
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and Server.ranges else 0
        if begin and begin >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if Server.breaks:
            Server.breaks -= 1
            self.wfile.write(content[begin : begin + Server.cut])
            self.close_connection = True
            return
        self.wfile.write(content[begin:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A public home on this machine that has an archive of tiny CIFAR-10 files; its address."""
    monkeypatch.setenv("SYNTHC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Server.cut, Server.breaks, Server.ranges, Server.asked = 0, 0, True, ()
    data_files.cifar10(tmp_path / "published", 500, 20, binary=False)
    FILES.clear()
    FILES["cifar-10-python.tar.gz"] = archive(tmp_path / "published")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        publish(monkeypatch, address, "cifar10")
        yield address
        server.shutdown()
        thread.join()


def archive(folder: Path) -> bytes:
    to = io.BytesIO()
    with tarfile.open(fileobj=to, mode="w:gz") as members:
        members.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    return to.getvalue()


def publish(monkeypatch: pytest.MonkeyPatch, address: str, name: str) -> None:
    """Make the server the public home of `name`, with the checksums of what it has."""
    checksums = CATALOGUE[name].forms[0].md5
    for file in FILES:
        if file.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(FILES[file])) as members:
                for member in members:
                    if content := members.extractfile(member):
                        monkeypatch.setitem(checksums, Path(member.name).name, md5(content.read()).hexdigest())
    entry = CATALOGUE[name]
    remotes = tuple(
        replace(remote, urls=(f"{address}/{remote.name}",), md5=md5(FILES[remote.name]).hexdigest()) for remote in entry.remotes
    )
    published = {form.folders[0]: form for form in entry.forms}
    forms = tuple(replace(form, md5={}) for form in published.values())  # tiny files have other checksums
    monkeypatch.setitem(CATALOGUE, name, replace(entry, forms=forms, remotes=remotes))


def test_a_fetched_set_is_unpacked_read_and_written_down(home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "cifar10"]) == 0
    said = capsys.readouterr()
    assert "fetching cifar-10-python.tar.gz" in said.err
    assert "cifar10: 500 + 20 images" in said.out
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["arrays", "cifar-10-batches-py", "records"]
    assert main(["data", "fetch", "cifar10"]) == 0
    assert "already in" in capsys.readouterr().out
    assert len(Server.asked) == 1


def test_a_download_goes_on_where_the_connection_broke_off(home: str) -> None:
    size = len(FILES["cifar-10-python.tar.gz"])
    Server.cut, Server.breaks = size // 3, 2
    assert main(["data", "fetch", "cifar10"]) == 0
    assert Server.asked == (None, f"bytes={size // 3}-", f"bytes={size // 3 * 2}-")


def test_the_next_fetch_goes_on_where_the_last_one_gave_up(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch, "MAX_ATTEMPTS", 1)
    Server.cut, Server.breaks = 1000, 1
    assert main(["data", "fetch", "cifar10"]) == 2
    assert "the connection broke off after 1,000 of" in capsys.readouterr().err
    assert (tmp_path / "data/cifar-10-python.tar.gz.part").stat().st_size == 1000
    assert main(["data", "fetch", "cifar10"]) == 0
    assert Server.asked == (None, "bytes=1000-")


def test_a_server_that_cannot_go_on_begins_anew(home: str) -> None:
    Server.cut, Server.breaks, Server.ranges = 1000, 1, False
    assert main(["data", "fetch", "cifar10"]) == 0


def test_a_wrong_checksum_is_refused_and_nothing_of_it_stays(home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = FILES["cifar-10-python.tar.gz"]
    FILES["cifar-10-python.tar.gz"] = right[:-1] + bytes([right[-1] ^ 1])
    assert main(["data", "fetch", "cifar10"]) == 2
    said = capsys.readouterr().err
    assert f"its md5 is {md5(FILES['cifar-10-python.tar.gz']).hexdigest()}, not {md5(right).hexdigest()}" in said
    assert list((tmp_path / "data").iterdir()) == []


def test_the_second_home_is_asked_when_the_first_does_not_have_it(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (remote,) = CATALOGUE["cifar10"].remotes
    there = replace(remote, urls=(f"{home}/gone/{remote.name}", *remote.urls))
    monkeypatch.setitem(CATALOGUE, "cifar10", replace(CATALOGUE["cifar10"], remotes=(there,)))
    assert main(["data", "fetch", "cifar10"]) == 0


def test_without_a_network_it_says_which_file_to_put_where(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    (remote,) = CATALOGUE["cifar10"].remotes
    there = replace(remote, urls=(f"http://127.0.0.1:{port}/{remote.name}",))
    monkeypatch.setitem(CATALOGUE, "cifar10", replace(CATALOGUE["cifar10"], remotes=(there,)))
    assert main(["data", "fetch", "cifar10"]) == 2
    said = capsys.readouterr().err
    assert "cannot be reached (Connection refused)" in said
    assert f"get cifar-10-python.tar.gz on another machine, put it into {tmp_path}/data, and run" in said
    (tmp_path / "data/cifar-10-python.tar.gz").write_bytes(FILES["cifar-10-python.tar.gz"])
    assert main(["data", "fetch", "cifar10"]) == 0  # which needs no network then
    assert "500 + 20 images" in capsys.readouterr().out


def test_files_that_are_used_as_they_are_get_their_names_only_when_whole(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_files.mnist(tmp_path / "idx", 40, 20)
    FILES.update({path.name: path.read_bytes() for path in (tmp_path / "idx").iterdir()})
    publish(monkeypatch, home, "mnist")
    Server.cut, Server.breaks = 10, 1
    assert main(["data", "fetch", "mnist"]) == 0
    assert sorted(path.name for path in (tmp_path / "data/MNIST/raw").iterdir()) == sorted(
        name for name in FILES if name.endswith("ubyte.gz")
    )


def flipped(content: bytes) -> bytes:
    return content[:40] + bytes([content[40] ^ 255]) + content[41:]


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-20], flipped, lambda content: b"", lambda content: b"<html>502 Bad Gateway</html>", None],
    ids=["truncated", "flipped", "empty", "a page instead", "gone"],
)
def test_what_was_damaged_after_it_came_is_put_aside_and_fetched_again(
    home: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[bytes], bytes] | None,
) -> None:
    data_files.mnist(tmp_path / "idx", 40, 20)
    FILES.update({path.name: path.read_bytes() for path in (tmp_path / "idx").iterdir()})
    publish(monkeypatch, home, "mnist")
    assert main(["data", "fetch", "mnist"]) == 0
    file = tmp_path / "data/MNIST/raw/t10k-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(whole))
    assert main(["data", "fetch", "mnist"]) == 0
    assert "already in" not in capsys.readouterr().out
    assert file.read_bytes() == whole
    assert file.with_name(f"{file.name}.damaged").exists() == (damage is not None)
    assert main(["data", "fetch", "mnist"]) == 0
    assert "already in" in capsys.readouterr().out


def in_order(monkeypatch: pytest.MonkeyPatch, address: str, name: str, root: Path) -> None:
    """Make tiny files of the set the published ones, with their checksums, and the server its home."""
    folder = root / CATALOGUE[name].forms[0].folders[0]
    FILES.clear()
    if name.endswith("mnist"):
        data_files.mnist(folder, 40, 20)
    elif name == "svhn":
        data_files.svhn(folder, 40, 20)
    elif name == "cifar10":
        data_files.cifar10(root, 50, 20, binary=False)
    else:
        images, labels = data_files.pictures(40, 10)
        for part in ("train", "test"):
            data_files.folders(folder / part, images, labels, [f"class {label}" for label in range(10)])
    entry = CATALOGUE[name]
    if name in ("cifar10", "cinic10"):
        (remote,), to = entry.remotes, io.BytesIO()
        with tarfile.open(fileobj=to, mode="w:gz") as members:
            for part in remote.unpacks:
                members.add((root if name == "cifar10" else folder) / part, part)
        FILES[remote.name] = to.getvalue()
    else:
        FILES.update({path.name: path.read_bytes() for path in folder.iterdir()})
    form = entry.forms[0]
    checksums = getattr(form.read, "keywords", {}).get("checksums", form.md5)
    for path in folder.iterdir():
        if path.is_file():
            monkeypatch.setitem(checksums, path.name, md5(path.read_bytes()).hexdigest())
    remotes = tuple(
        replace(remote, urls=(f"{address}/{remote.name}",), md5=md5(FILES[remote.name]).hexdigest()) for remote in entry.remotes
    )
    monkeypatch.setitem(CATALOGUE, name, replace(entry, forms=(replace(form, md5=checksums),), remotes=remotes))


@pytest.mark.parametrize("name", ["mnist", "svhn", "cifar10", "cinic10"])
@pytest.mark.parametrize(
    "damage",
    [lambda content: content[: len(content) // 2], flipped, lambda content: b"", lambda content: b"<html>502 Bad Gateway</html>"],
    ids=["truncated", "flipped", "empty", "a page instead"],
)
def test_a_set_of_any_format_that_was_damaged_is_whole_after_one_fetch(
    home: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    damage: Callable[[bytes], bytes],
) -> None:
    in_order(monkeypatch, home, name, tmp_path / "public")
    assert main(["data", "fetch", name]) == 0
    folder = tmp_path / "data" / CATALOGUE[name].forms[0].folders[0]
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    file = next(path for path in sorted(whole) if path.relative_to(folder).as_posix().startswith(("test", "t10k-images")))
    file.write_bytes(damage(whole[file]))
    capsys.readouterr()
    assert main(["data", "fetch", name]) == 0
    said = capsys.readouterr().out
    assert ".damaged" in said
    assert "already in" not in said
    assert all(path.read_bytes() == content for path, content in whole.items())
    assert main(["data", "fetch", name]) == 0
    assert "already in" in capsys.readouterr().out


def test_content_that_is_not_the_pinned_one_is_not_called_there(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_order(monkeypatch, home, "fashion_mnist", tmp_path / "public")
    folder = tmp_path / "data" / CATALOGUE["fashion_mnist"].forms[0].folders[0]
    data_files.mnist(folder, 30, 20, zipped=False)  # whole files, without a published checksum, of other images
    assert main(["data", "fetch", "fashion_mnist"]) == 1
    assert "NOT 9fad14d04aa05243" in capsys.readouterr().out
    assert len(list(folder.glob("*.gz"))) == 4
    assert len(list(folder.glob("*.damaged"))) == 4


def test_a_damaged_set_of_the_machine_is_left_and_one_of_the_users_own_is_fetched(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_order(monkeypatch, home, "mnist", tmp_path / "public")
    monkeypatch.setattr("runtime.data.catalogue.DEBIAN", tmp_path / "public")
    file = tmp_path / "public/MNIST/raw/t10k-images-idx3-ubyte.gz"
    file.write_bytes(b"")
    assert main(["data", "fetch", "mnist"]) == 0
    assert f"left there; {tmp_path / 'data'} gets another" in capsys.readouterr().out
    assert file.read_bytes() == b""
    assert main(["data", "verify", "mnist"]) == 0


def test_an_archive_that_was_put_there_and_is_another_is_kept_aside(
    home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/cifar-10-python.tar.gz").write_bytes(FILES["cifar-10-python.tar.gz"][:-10])
    assert main(["data", "fetch", "cifar10"]) == 0
    assert "kept as cifar-10-python.tar.gz.damaged, and fetched again" in capsys.readouterr().err
    assert (tmp_path / "data/cifar-10-python.tar.gz.damaged").exists()


@pytest.mark.parametrize("left", ["zeros", "half", "too much"])
def test_what_an_interrupted_download_left_never_ends_in_a_wrong_file(home: str, tmp_path: Path, left: str) -> None:
    whole = FILES["cifar-10-python.tar.gz"]
    content = {"zeros": bytes(len(whole) // 2), "half": whole[: len(whole) // 2], "too much": whole + b"more"}[left]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/cifar-10-python.tar.gz.part").write_bytes(content)
    assert main(["data", "fetch", "cifar10"]) == 0
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["arrays", "cifar-10-batches-py", "records"]


def test_a_fetch_that_is_interrupted_goes_on_the_next_time(home: str, tmp_path: Path) -> None:
    def interrupt(name: str, have: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("cifar10", interrupt)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar-10-python.tar.gz.part"]
    assert main(["data", "fetch", "cifar10"]) == 0
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["arrays", "cifar-10-batches-py", "records"]


def tar(*members: tuple[str, bytes, bytes]) -> bytes:
    to = io.BytesIO()
    with tarfile.open(fileobj=to, mode="w") as file:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(content)
            member.linkname = "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            file.addfile(member, io.BytesIO(content))
    return to.getvalue()


def test_an_archive_leaves_nothing_outside_its_folder_and_nothing_that_nobody_asked_for(tmp_path: Path) -> None:
    plain = tarfile.REGTYPE
    (tmp_path / "a.tar").write_bytes(
        tar(
            ("train/x.png", plain, b"x"),
            ("./train/y.png", plain, b"y"),
            ("train/../../evil", plain, b"no"),
            ("/train/evil", plain, b"no"),
            ("other", plain, b"no"),
            ("train/link", tarfile.SYMTYPE, b""),
        )
    )
    folder = tmp_path / "into"
    folder.mkdir()
    fetch.unpack(tmp_path / "a.tar", folder, ("train",))
    there = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if not path.is_dir())
    assert there == ["a.tar", "into/train/x.png", "into/train/y.png"]


def test_a_broken_archive_or_one_that_unpacks_to_too_much_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tar(("train/x.png", tarfile.REGTYPE, bytes(5000)))
    folder = tmp_path / "into"
    folder.mkdir()
    for content, wanted, complaint in (
        (whole[:2000], "train", "cannot be unpacked"),
        (b"no archive", "train", "cannot be unpacked"),
        (whole, "test", "lacks test"),
    ):
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(fetch.SynthcError, match=complaint):
            fetch.unpack(tmp_path / "a.tar", folder, (wanted,))
    monkeypatch.setattr(fetch, "MAX_UNPACKED_BYTES", 4000)
    (tmp_path / "a.tar").write_bytes(whole)
    with pytest.raises(fetch.SynthcError, match="unpacks to over 4,000 bytes"):
        fetch.unpack(tmp_path / "a.tar", folder, ("train",))
    assert list(folder.iterdir()) == []


def test_every_published_file_has_a_checksum_and_lands_where_it_is_looked_for() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.remotes, name
        form = entry.forms[0]
        landing = {f"{remote.into}/{file}".strip("/") for remote in entry.remotes for file in remote.unpacks or (remote.name,)}
        wanted = {f"{form.folders[0]}/{file}" for file in form.files}
        assert {place.removesuffix(".gz") if form.zipped else place for place in landing} == wanted, name
        for remote in entry.remotes:
            assert isinstance(remote, Remote)
            assert len(bytes.fromhex(remote.md5)) == 16
        assert all(len(bytes.fromhex(checksum)) == 16 for checksum in form.md5.values())

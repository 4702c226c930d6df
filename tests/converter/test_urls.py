"""Addresses, what of a store's file is fetched, and stores of this process: no server is needed."""

import fcntl
import io
import pickle
import random
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import numpy as np
import pytest

from converter import Assumption, FormatError, UsageError, convert, open_checkpoint, verify
from converter.errors import StoreError
from converter.execute import write
from converter.folders import folder_of
from converter.stores import client, staging
from converter.stores.reader import Reader, prefetch
from converter.stores.url import Url, locate, same_file, without_secrets
from tests.converter import plans

MEMORY = "memory://folder"


@pytest.fixture
def memory():
    """An empty store of this process."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


# Addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "shown"),
    [
        ("s3://bucket/a/model.safetensors", "model.safetensors", None),
        ("s3://bucket/what?/#1.pth", "#1.pth", None),
        ("hf://owner/model@main/pytorch_model.bin.index.json", "pytorch_model.bin.index.json", None),
        ("https://host/a.pth?X-Amz-Signature=abc", "a.pth", "https://host/a.pth"),
        ("https://me:word@host/a.pth", "a.pth", "https://host/a.pth"),
        ("ftp://me:word@host/a.pth", "a.pth", "ftp://host/a.pth"),
        ("ftp://me:w@r'd@host/a.pth", "a.pth", "ftp://host/a.pth"),
        ("https://me:w@r'd@host/a.pth?sig=a'bc d", "a.pth", "https://host/a.pth"),
        ("s3://bucket/\x1b[2Ja.pth", "\x1b[2Ja.pth", "s3://bucket/\\x1b[2Ja.pth"),
    ],
)
def test_addresses_have_names_and_show_no_secrets(text, name, shown):
    url = locate(text)
    assert (url.name, str(url)) == (name, shown or text)
    assert repr(url) == f"Url('{url}')"
    assert url.with_name("b.pth").address.startswith(url.parent.address)
    assert (url.parent / "b.pth").name == "b.pth"
    assert pickle.loads(pickle.dumps(url)) == url


def test_paths_of_this_machine_are_paths():
    assert locate("a//b.pth") == Path("a/b.pth")
    assert locate("file:///a/b.pth") == Path("/a/b.pth")
    assert locate(Path("a")) == Path("a")
    assert locate("c:/a.pth") == Path("c:/a.pth")
    assert not same_file(Path("a.pth"), Url("s3://b/a.pth"))
    assert same_file(Url("s3://b/a.pth"), Url("s3://b/a.pth"))
    assert same_file(Url("s3a://b/a.pth"), Url("s3://b/a.pth"))
    assert not same_file(Url("gs://b/a.pth"), Url("s3://b/a.pth"))


@pytest.mark.parametrize(
    "text", ["s3://", "s3://bucket", "s3://bucket/", "zip://a.pth::s3://bucket/b.zip", "file://a.pth"]
)
def test_addresses_that_name_no_file(text):
    with pytest.raises(UsageError, match=r"write it as in (s3://bucket/name|file:///folder/name)"):
        locate(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3:/bucket/a.pth", "s3://bucket/a.pth: write the address like this, with two slashes"),
        ("HF:owner/a.pth", "HF://owner/a.pth: write the address like this, with two slashes"),
        (
            "https:/me:word@host/a.pth?sig=abc",
            "https://host/a.pth: write the address like this, with two slashes",
        ),
        ("file:/folder/a.pth", "file://folder/a.pth: write it as in file:///folder/name"),
    ],
)
def test_an_address_with_a_slash_too_few(text, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"^{shown}"):
        locate(text)
    Path(Path(text).parts[0]).mkdir()
    assert locate(text) == Path(text)  # whoever has such a folder means it


def test_a_server_that_tells_no_size(tmp_path):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"0123")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(StoreError, match=r"a\.safetensors: the server does not tell how large it is$"):
            open_checkpoint(locate(f"http://127.0.0.1:{server.server_port}/a.safetensors"))
        server.shutdown()


def test_errors_of_clients_lose_their_secrets():
    text = "403, url='https://me:word@host/a/b.pth?X-Amz-Credential=AKIA&X-Amz-Signature=abc' (s3://b/k)"
    assert without_secrets(text) == "403, url='https://host/a/b.pth' (s3://b/k)"
    assert without_secrets("at ftp://me:w@rd@host/a, https://host?u=a@b") == "at ftp://host/a, https://host"


# What is fetched ----------------------------------------------------------------------------------


def test_ranges_that_nearly_touch_are_one():
    assert staging.merged([(900, 1000), (0, 500), (500, 800), (2000, 2000)]) == [(0, 800), (900, 1000)]
    assert staging.merged([(0, 10_000), (10_100, 10_200)]) == [(0, 10_200)]
    assert staging.merged([(0, 10_000), (10_101, 10_200)]) == [(0, 10_000), (10_101, 10_200)]
    assert staging.merged([(0, 100), (10, 20)]) == [(0, 100)]
    assert staging.merged([]) == []


def test_a_file_in_a_store_reads_as_another(memory, monkeypatch):
    content = random.Random(1).randbytes(200_000)
    memory.pipe_file("/folder/file", content)
    asked = []
    read = client.read
    monkeypatch.setattr(
        client, "read", lambda url, start, end: asked.append((start, end)) or read(url, start, end)
    )
    there, here = Url(f"{MEMORY}/file").open(), io.BytesIO(content)
    choose = random.Random(2)
    for _ in range(300):
        match choose.randrange(4):
            case 0:
                assert there.seek(0, 2) == here.seek(0, 2)
            case 1:
                at = choose.randrange(len(content) + 10)
                assert there.seek(at) == here.seek(at)
            case 2:
                size = choose.choice([1, 7, 5000, 60_000])
                assert there.read(size) == here.read(size)
            case 3:
                assert there.readline(50) == here.readline(50)
        assert there.tell() == here.tell()
    assert sum(end - start for start, end in asked) < 2 * len(content)


def test_what_was_fetched_is_not_fetched_again(memory, monkeypatch):
    memory.pipe_file("/folder/file", bytes(range(250)) * 400)
    file = Url(f"{MEMORY}/file").open()
    prefetch(file, [(50_000, 50_100), (70_000, 70_010), (99_990, 200_000)])
    assert file.read(8)[:3] == b"\0\1\2"
    monkeypatch.setattr(client, "read", None)
    assert len(file.read(16_376)) == 16_376
    for start, size in ((50_000, 100), (70_003, 7), (99_990, 10)):
        file.seek(start)
        assert file.read(size) == (bytes(range(250)) * 400)[start:][:size]
    prefetch(io.BytesIO(), [(1, 2)])  # nothing


def test_a_reader_needs_to_know_the_file():
    with pytest.raises(ValueError, match="s3"):
        Reader(Url("s3://b/a"))
    with pytest.raises(ValueError, match="wb"):
        Url("s3://b/a").open("wb")


class Failing:
    """Gives what it is told to, in turn, when it is read."""

    async_impl = True

    def __init__(self, *answers):
        self.answers = list(answers)

    def cat_file(self, path, start, end):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([OSError("500"), b"123"], b"123"),
        ([b"12", b"1234", TimeoutError(), b"123"], b"123"),
        ([b"", RuntimeError("reset"), OSError(), OSError(), b"123"], b"123"),
        ([b"12"] * 5, "2 bytes came, of 3"),
        ([OSError("at https://host/a?sig=abc")] * 5, "at https://host/a"),
        ([OSError()] * 5, "OSError"),
        ([PermissionError("no")], "no"),
        ([FileNotFoundError("gone")], "gone"),
    ],
)
def test_what_may_pass_is_asked_again_and_nothing_else(answers, outcome, monkeypatch):
    store = Failing(*answers)
    monkeypatch.setattr(client, "_open", lambda url: (store, "path"))
    monkeypatch.setattr(client, "_LONGEST_WAIT_SECONDS", 0)
    if isinstance(outcome, bytes):
        assert client.read(Url("s3://b/a"), 5, 8) == outcome
    else:
        with pytest.raises(StoreError, match=rf"^s3://b/a: {outcome}$") as raised:
            client.read(Url("s3://b/a"), 5, 8)
        assert raised.value.__cause__ is None
    assert not store.answers


# Stores of this process ---------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_every_kind_of_tensor_goes_through_a_store(memory, tmp_path, suffix):
    here = plans.write_source(tmp_path / f"model.{suffix}", plans.arrays())
    memory.pipe_file(f"/folder/{here.file.name}", here.file.read_bytes())
    there = open_checkpoint(f"{MEMORY}/{here.file.name}")
    assert {name: (info.dtype, info.shape) for name, info in there.tensors.items()} == {
        name: (info.dtype, info.shape) for name, info in here.tensors.items()
    }
    for name in here.tensors:
        assert np.array_equal(there.read(name), here.read(name))
    kind = "pdparams" if suffix == "pth" else suffix
    write(here, plans.everything(here), tmp_path / f"out.{kind}")
    write(there, plans.everything(there), Url(f"{MEMORY}/out.{kind}"))
    assert memory.cat_file(f"/folder/out.{kind}") == (tmp_path / f"out.{kind}").read_bytes()


def test_a_tensor_of_a_file_that_was_replaced_is_not_read(memory, tmp_path):
    here = plans.write_source(tmp_path / "model.safetensors", {"a": np.zeros(3, np.float32)}).file
    memory.pipe_file("/folder/a.safetensors", here.read_bytes())
    there = open_checkpoint(f"{MEMORY}/a.safetensors")
    assert there.read("a").size == 3
    memory.pipe_file("/folder/a.safetensors", here.read_bytes())
    with pytest.raises(FormatError, match="was changed"):
        there.read("a")


@pytest.fixture
def layers(memory, tmp_path):
    """A source here and there, and what is known of it."""
    arrays = {f"fc{number}.weight": np.full((3, 4), number, np.float32) for number in range(6)}
    here = plans.write_source(tmp_path / "model.pth", arrays).file
    memory.pipe_file("/folder/model.pth", here.read_bytes())
    return here, f"{MEMORY}/model.pth", {"assumptions": Assumption.parse_all(["linear=fc*"])}


def test_shards_in_a_store_of_this_process(memory, layers, tmp_path):
    here, there, known = layers
    convert(here, tmp_path / "out.pdparams.index.json", shards=3, **known)
    convert(there, f"{MEMORY}/out/out.pdparams.index.json", shards=3, **known)
    right = {path.name: path.read_bytes() for path in tmp_path.glob("out*")}
    assert {Path(name).name: memory.cat_file(name) for name in memory.find("/folder/out")} == right
    done = convert(there, f"{MEMORY}/out/out.pdparams.index.json", shards=2, force=True, **known)
    verify(open_checkpoint(there), done.plan, f"{MEMORY}/out/out.pdparams.index.json")


def test_what_a_store_makes_impossible_is_said(memory, layers, tmp_path):
    _, there, known = layers
    target = f"{MEMORY}/out.pdparams.index.json"
    with pytest.raises(UsageError, match=r"memory://folder/.*: .*\(--workers 1\)"):
        convert(there, target, shards=2, workers=2, **known)
    with pytest.raises(UsageError, match="parts are always verified"):
        convert(there, target, shards=2, verified=False, **known)
    same = plans.write_source(tmp_path / "same.safetensors", {"fc1.weight": np.zeros((2, 2), np.float32)})
    memory.pipe_file("/folder/same.safetensors", same.file.read_bytes())
    with pytest.raises(UsageError, match=rf"{MEMORY}/same.safetensors is the source itself"):
        convert(f"{MEMORY}/same.safetensors", f"{MEMORY}/same.safetensors", force=True, **known)
    with pytest.raises(UsageError, match="nonsense://b/a.pth: .*not known: nonsense"):
        open_checkpoint("nonsense://b/a.pth")
    with pytest.raises(UsageError, match=r"dbfs://b/a.pth: .*missing"):
        open_checkpoint("dbfs://b/a.pth")
    with pytest.raises(StoreError, match=r"ftp://127.0.0.1:1/a.pth: .*refused"):
        open_checkpoint("ftp://me:word@127.0.0.1:1/a.pth")
    with pytest.raises(UsageError, match=r"memory://folder/absent.pth: no such file"):
        open_checkpoint(f"{MEMORY}/absent.pth")
    memory.pipe_file("/folder/empty.safetensors", b"")
    with pytest.raises(FormatError, match=r"memory://folder/empty.safetensors: is not a safetensors file"):
        open_checkpoint(f"{MEMORY}/empty.safetensors")


def test_work_for_a_store_is_given_up_here_and_not_elsewhere(monkeypatch):
    folder = folder_of(Url("s3://b/out.safetensors.index.json"))
    with folder.held() as token:
        assert folder.watched(token) == token
    assert folder.watched(token) == token  # and is gone: the work ends
    assert not token.exists()
    monkeypatch.setattr("platform.node", lambda: "another")
    assert folder.watched(token) is None


def test_parts_that_begin_at_the_same_time_leave_one_another_alone(monkeypatch, tmp_path):
    folder = folder_of(tmp_path / "out.safetensors.index.json")
    flock, looks = fcntl.flock, []

    def late(descriptor, how):
        if not looks:  # before this one has its lock, another tidies up
            looks.append([path.unlink() for path in folder.waiting.iterdir()])
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with folder.held() as token:
        assert looks == [[None]]
        assert token.exists()
    assert not list(folder.waiting.iterdir())


@pytest.mark.parametrize(("size", "part"), [(100, 8 << 20), (100_000_000_000, 10_000_000)])
def test_a_store_is_given_no_more_parts_than_it_takes(size, part, monkeypatch, tmp_path):
    asked = []

    class Store:
        def put_file(self, file, path, callback, chunksize, max_concurrency):
            asked.append(chunksize)

    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(size)
    monkeypatch.setattr(client, "_open", lambda url: (Store(), "path"))
    monkeypatch.setattr(client, "_arrived", lambda url, nbytes: nbytes)
    assert client.put(Url("s3://b/a"), tmp_path / "sparse") == size
    assert asked == [part]


WITHOUT = """
import sys

sys.modules[sys.argv[1]] = None
from dgtool.cli import main

sys.argv = ["dgtool", "inspect", sys.argv[2]]
main()
"""


@pytest.mark.parametrize(
    ("package", "url", "extra"),
    [
        ("fsspec", "memory://b/a.pth", "remote"),
        ("s3fs", "s3://b/a.pth", "s3"),
        ("huggingface_hub", "hf://a/b/c.pth", "hf"),
    ],
)
def test_what_is_not_installed_is_named_in_one_line(package, url, extra):
    command = [sys.executable, "-c", WITHOUT, package, url]
    finished = subprocess.run(command, capture_output=True, text=True)
    scheme = url.partition(":")[0]
    assert finished.returncode == 2
    assert (
        finished.stderr
        == f"dgtool: {scheme}:// needs packages that are not installed: pip install 'dgtool[{extra}]'\n"
    )

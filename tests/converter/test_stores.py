"""Both ends in an S3 server of its own, behind a proxy that fails on purpose: the same bytes, and no more of them."""

import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from converter import (
    Assumption,
    FormatError,
    Part,
    UsageError,
    VerifyError,
    convert,
    finish,
    open_checkpoint,
    open_source,
)
from converter.errors import StoreError
from converter.formats import format_of, safetensors, sharded
from converter.stores import client
from converter.stores.url import locate
from tests.s3_server import VARIABLES, listing, md5, proxied, put, s3_server
from tests.untraced import untraced

SHARDS = 12
INDEX = "model.safetensors.index.json"
OUT = "port.safetensors.index.json"
KNOWN = {"assumptions": Assumption.parse_all(["linear=*"]), "source_framework": "torch"}
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch, s3_server() as port, proxied(port) as proxy:
        for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": proxy.url}.items():
            patch.setenv(name, value)
        yield proxy


@pytest.fixture
def bucket(server, request):
    """An empty bucket, by name."""
    server.reset()
    name = f"b{abs(hash(request.node.name)):x}"
    server.ask("PUT", f"/{name}")
    return name


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A checkpoint of twelve shards, of two layers each."""
    folder = tmp_path_factory.mktemp("source")
    random = np.random.default_rng(3)
    weight_map = {}
    for number in range(1, SHARDS + 1):
        name = sharded.shard_name(folder / INDEX, number, SHARDS)
        arrays = {}
        for layer in (2 * number, 2 * number + 1):
            arrays[f"layers.{layer}.weight"] = random.standard_normal((400, 400), np.float32)
            arrays[f"layers.{layer}.bias"] = random.standard_normal(400, np.float32)
        weight_map.update(dict.fromkeys(arrays, name))
        with (folder / name).open("wb") as file:
            safetensors.write(file, "torch", [((key,), array) for key, array in arrays.items()])
    (folder / INDEX).write_bytes(sharded.index(weight_map, 0))
    return folder / INDEX


@pytest.fixture(scope="module")
def right(source, tmp_path_factory):
    """What is written on this machine alone."""
    folder = tmp_path_factory.mktemp("right")
    convert(source, folder / OUT, shards=SHARDS, **KNOWN)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def nbytes(checkpoint):
    return sum(info.nbytes for info in checkpoint.tensors.values())


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files, of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


class Watcher:
    """Looks at a folder of a bucket after each change: with an index, all is whole and final."""

    def __init__(self, server, bucket, right):
        self.looks, self.published, self.problems = 0, 0, []
        self._server, self._bucket, self._right = server, bucket, md5(right)

    def look(self, request):
        self.looks += 1
        there = listing(self._server, self._bucket, "out/")
        if OUT in there:
            self.published += 1
            self.problems += [name for name, digest in self._right.items() if there.get(name) != digest]


# Faults -------------------------------------------------------------------------------------------

FAULTS = {
    ("GET", 2): "500",
    ("GET", 5): "slow",
    ("GET", 8): "dropped",
    ("GET", 30): "short",
    ("GET", 33): "500",
    ("GET", 36): "dropped",
    ("PUT", 2): "500",
    ("PUT", 5): "lost",
    ("PUT", 30): "500",
    ("PUT", 37): "lost",
    ("HEAD", 4): "500",
    ("DELETE", 20): "lost",
}


def test_the_same_bytes_whatever_fails_and_an_index_of_what_is_whole(server, bucket, source, right):
    put(server, bucket, *source.parent.iterdir())
    watcher = Watcher(server, bucket, right)
    server.fault = lambda request: FAULTS.get(request[:2])
    server.changed = watcher.look
    seen = []
    done = convert(
        f"s3://{bucket}/{INDEX}",
        f"s3://{bucket}/out/{OUT}",
        shards=SHARDS,
        progress=lambda name, size: seen.append(name),
        **KNOWN,
    )
    assert sorted(server.faults) == sorted(FAULTS.values())
    assert listing(server, bucket, "out/") == md5(right)
    assert [str(file) for file in done.files] == [f"s3://{bucket}/out/{name}" for name in sorted(right)]
    assert sorted(seen) == sorted(right.keys() - {OUT})
    assert watcher.looks > 4 * SHARDS
    assert watcher.published > 2 * SHARDS
    assert not watcher.problems
    # What came whole was not asked for again.
    assert server.lost_bytes
    assert server.body_bytes <= 1.02 * nbytes(open_checkpoint(source))


def test_what_is_needed_is_downloaded_and_little_else(server, bucket, source, temporary):
    put(server, bucket, *source.parent.iterdir())
    needed = nbytes(open_checkpoint(source))
    opened = open_checkpoint(f"s3://{bucket}/{INDEX}")
    assert server.body_bytes < 0.02 * needed
    server.reset()
    convert(f"s3://{bucket}/{INDEX}", f"s3://{bucket}/out/{OUT}", shards=3, workers=2, **KNOWN)
    assert needed < server.body_bytes <= 1.02 * needed
    assert nbytes(opened) == needed
    assert not list(temporary.iterdir())


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """A checkpoint of two dicts, whose tensors lie between each other."""
    random = np.random.default_rng(4)
    arrays = {
        (key, f"fc{layer}.{name}"): random.standard_normal(shape, np.float32)
        for layer in range(6)
        for key in ("first", "second")
        for name, shape in {"weight": (400, 400), "bias": (400,)}.items()
    }
    folder = tmp_path_factory.mktemp("nested")
    for suffix in ("pth", "pdparams", "safetensors"):
        with (folder / f"nested.{suffix}").open("wb") as file:
            framework = "paddle" if suffix == "pdparams" else "torch"
            format_of(Path(file.name)).write(file, framework, arrays.items(), {})
    return folder


@pytest.mark.parametrize("suffix", ["pth", "pdparams", "safetensors"])
def test_of_a_part_of_a_checkpoint_its_tensors_are_downloaded(server, bucket, nested, suffix, tmp_path):
    source = nested / f"nested.{suffix}"
    put(server, bucket, source)
    target = "out.pth" if suffix == "pdparams" else "out.pdparams"
    options = {"key": "second", "assumptions": Assumption.parse_all(["linear=fc*"])}
    needed = nbytes(open_checkpoint(source)) // 2
    convert(f"s3://{bucket}/{source.name}", tmp_path / target, **options)
    assert needed < server.body_bytes <= 1.02 * needed
    convert(source, tmp_path / f"right-{target}", **options)
    assert (tmp_path / target).read_bytes() == (tmp_path / f"right-{target}").read_bytes()
    convert(source, f"s3://{bucket}/{target}", **options)  # and the other way, as one file
    convert(f"s3://{bucket}/{source.name}", f"s3://{bucket}/2-{target}", **options)
    written = listing(server, bucket)
    assert written[target] == written[f"2-{target}"] == md5({"": (tmp_path / target).read_bytes()})[""]


def test_a_large_file_is_put_in_parts(server, bucket, tmp_path):
    size = 18 << 20
    (tmp_path / "large").write_bytes(b"0123456789abcdef" * (size // 16))
    server.fault = lambda request: "500" if request[:2] == ("PUT", 2) else None
    client.put(locate(f"s3://{bucket}/large"), tmp_path / "large")
    assert server.faults == ["500"]
    assert len(server.of("PUT")) == 4
    assert len(server.of("POST")) == 2
    assert server.ask("GET", f"/{bucket}/large")[2] == (tmp_path / "large").read_bytes()

    def give_up():
        if len(server.of("PUT")) > 4:
            raise FileNotFoundError("nobody waits")

    with pytest.raises(FileNotFoundError, match="nobody waits"):
        client.put(locate(f"s3://{bucket}/other"), tmp_path / "large", give_up)
    assert listing(server, bucket).keys() == {"large"}
    assert b"<Upload>" not in server.ask("GET", f"/{bucket}?uploads")[2]


# Interruptions ------------------------------------------------------------------------------------


@pytest.fixture
def started(server, bucket, source, temporary):
    """Start a conversion as a program; gives it, and what lets its requests through."""
    put(server, bucket, *source.parent.iterdir())
    server.reset()
    command = [
        sys.executable,
        "-m",
        "dgtool",
        "convert",
        f"s3://{bucket}/{INDEX}",
        f"s3://{bucket}/out/{OUT}",
    ]
    command += ["--shards", "12", "--assume", "linear=*", "--from", "torch", "--json"]

    def heed_interrupts():
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    environment = {**untraced(), "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    gate = threading.Event()  # the program is known before its requests are looked at
    server.fault = lambda request: gate.wait(60) and None
    with subprocess.Popen(command, env=environment, preexec_fn=heed_interrupts, **pipes) as process:
        try:
            yield process, gate.set
        finally:
            gate.set()
            process.kill()


def at_the_upload(server, number, do):
    """Have something done when the so many'th shard is about to be there; the upload then fails."""
    seen = []

    def fault(request):
        method, _, path = request
        if method == "PUT" and path.endswith(".safetensors"):
            seen.append(path)
            if len(seen) == number:
                do()
                return "500"
        return None

    return fault


def test_killed_within_an_upload_and_gone_on_with(server, bucket, started, source, right, temporary):
    process, go = started
    server.fault = at_the_upload(server, 5, process.kill)
    go()
    assert process.wait(60) == -signal.SIGKILL
    server.fault = lambda request: None
    left = listing(server, bucket, "out/")
    assert not [name for name in left if "/" not in name]
    receipts = [name for name in left if name.endswith(".safetensors.json")]
    assert 3 <= len(receipts) <= 5
    assert list(temporary.glob("dgtool-staging-*"))
    server.reset()
    done = convert(f"s3://{bucket}/{INDEX}", f"s3://{bucket}/out/{OUT}", shards=SHARDS, **KNOWN)
    assert done.reused == len(receipts)
    waiting = f"/{bucket}/out/{OUT}.parts/"
    put_again = [
        path for path in server.of("PUT") if path.startswith(waiting) and path.endswith("safetensors")
    ]
    assert len(put_again) == SHARDS - len(receipts)
    assert server.body_bytes < (1.02 - len(receipts) / SHARDS) * nbytes(open_checkpoint(source))
    assert listing(server, bucket, "out/") == md5(right)
    assert not list(temporary.iterdir())


def test_interrupted_within_an_upload(server, bucket, started, temporary):
    process, go = started
    server.fault = at_the_upload(server, 3, lambda: process.send_signal(signal.SIGINT))
    go()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.strip() == "dgtool: interrupted; nothing was left half written"
    assert not [name for name in listing(server, bucket, "out/") if "/" not in name]
    assert not list(temporary.iterdir())


def test_parts_in_any_order_and_one_that_is_missing(server, bucket, source, right):
    put(server, bucket, *source.parent.iterdir())
    target = f"s3://{bucket}/out/{OUT}"

    def write(number, origin=f"s3://{bucket}/{INDEX}"):
        return convert(origin, target, shards=SHARDS, part=Part(number, 3), **KNOWN).reused

    def publish():
        return finish(f"s3://{bucket}/{INDEX}", target, shards=SHARDS, **KNOWN)

    assert [write(3), write(1), write(3)] == [0, 0, 4]
    with pytest.raises(
        VerifyError, match=r"part 2/3 is missing, with port-00005-of-00012.safetensors and 3 more"
    ):
        publish()
    write(2, origin=source)  # of the same tensors, as their digests will say
    before = server.body_bytes
    name = f"{OUT}.parts/port-00007-of-00012.safetensors"
    whole = server.ask("GET", f"/{bucket}/out/{name}")[2]
    server.ask("PUT", f"/{bucket}/out/{name}", whole[:-1] + b"?")
    with pytest.raises(VerifyError, match=r"part 2/3: port-00007-of-00012.safetensors was altered"):
        publish()
    server.ask("PUT", f"/{bucket}/out/{name}", whole)
    publish()
    assert listing(server, bucket, "out/") == md5(right)
    assert server.body_bytes > before
    with pytest.raises(UsageError, match="exists; add --force to replace it"):
        write(1)


# What cannot be -----------------------------------------------------------------------------------


def test_a_source_that_changes_meanwhile_is_refused(server, bucket, source, temporary):
    put(server, bucket, *source.parent.iterdir())
    name = "model-00007-of-00012.safetensors"
    changed = (source.parent / name).read_bytes()[:-1] + b"?"
    opened = open_checkpoint(f"s3://{bucket}/{INDEX}")
    given = open_source(f"s3://{bucket}/{INDEX}", **KNOWN)
    assert nbytes(opened) == nbytes(given.checkpoint)
    server.ask("PUT", f"/{bucket}/{name}", changed)
    with pytest.raises(FormatError, match=rf"s3://{bucket}/{name}: was changed while it was converted"):
        convert(given, f"s3://{bucket}/out/{OUT}", shards=SHARDS)
    assert OUT not in listing(server, bucket, "out/")
    assert not list(temporary.iterdir())


def test_a_store_that_only_fails_is_named_and_no_secret_is(server, bucket, source, monkeypatch):
    monkeypatch.setattr(client, "_LONGEST_WAIT_SECONDS", 0)
    put(server, bucket, source)
    server.fault = lambda request: "dropped" if request[0] == "GET" else None
    with pytest.raises(StoreError, match=rf"^s3://{bucket}/{INDEX}: \S") as raised:
        open_checkpoint(f"s3://{bucket}/{INDEX}")
    server.fault = lambda request: None
    assert server.faults == 5 * ["dropped"]
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    with pytest.raises(UsageError, match=rf"^s3://{bucket}/absent.pth: no such file$"):
        open_checkpoint(f"s3://{bucket}/absent.pth")


def test_an_index_that_names_what_is_not_beside_it(server, bucket, source):
    for name in ("../secret.safetensors", "absent.safetensors"):
        server.ask("PUT", f"/{bucket}/{INDEX}", sharded.index({"a": name}, 0))
        with pytest.raises(FormatError, match=f"it names '{name}', which is no file beside it"):
            open_checkpoint(f"s3://{bucket}/{INDEX}")


def test_commands_take_addresses(server, bucket, nested, dgtool):
    put(server, bucket, nested / "nested.pth")
    source, target = f"s3://{bucket}/nested.pth", f"s3://{bucket}/first.pdparams"
    options = ["--key", "first", "--assume", "linear=fc*"]
    here, there = (dgtool("inspect", place).stdout for place in (f"file://{nested}/nested.pth", source))
    assert "first: " in here
    assert here == there
    assert server.body_bytes < 100_000
    dry = dgtool("convert", source, target, *options, "--dry-run")
    assert f"dry run: 12 tensors of {source} would be written; nothing was" in dry.stdout
    assert listing(server, bucket).keys() == {"nested.pth"}
    written = dgtool("convert", source, target, *options)
    assert f"wrote {target}: 12 tensors, read back and verified bit for bit" in written.stdout
    again = dgtool("convert", source, target, *options)
    assert (again.exit_code, again.stderr) == (2, f"dgtool: {target} exists; add --force to replace it\n")
    proven = dgtool("verify", source, target, *options)
    assert proven.stdout == f"{target} holds {source}: 12 tensors agree bit for bit\n"
    assert dgtool("verify", source, target, "--key", "second", "--assume", "linear=fc*").exit_code == 1

"""A kernel cache is used only when it is whole and the user's own, and is never lost to a race."""

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.backends import registry
from engine.backends.opencl import program_cache
from engine.backends.opencl.context import source
from engine.cache import fingerprint, private_file
from engine.cache import format as cache_format
from engine.cache.file import MOST_ENTRIES, MOST_SECTIONS, CacheFile
from engine.cache.format import MAGIC, SCHEMA, DamagedError, Section, decode, encode
from engine.cache.report import MISSING, CacheReport
from engine.config import BackendConfig, ForwardType, Precision, ScheduleConfig
from engine.errors import ConfigError
from engine.interpreter import Interpreter
from fixtures.models.corpus import by_name
from tests.sharing_models import MODELS, feeds

pytestmark = pytest.mark.usefixtures("nothing_built")
OPENCL = next(
    d for d in os.environ.get("PARALLAX_DEVICES", "cpu,portable").split(",") if d.strip() != "cpu"
)
CONFIG = ScheduleConfig(
    type=ForwardType.OPENCL,
    device=OPENCL,
    backend_config=BackendConfig(precision=Precision.HIGH),
)
KEY = "conv 0123 @ there"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kernels.cache"


def filled(path: Path, model: str = "model", **binaries: bytes) -> CacheFile:
    """A saved cache of some model."""
    cache = CacheFile(path, model)
    for key, binary in (binaries or {KEY: b"some kernel"}).items():
        cache.leave(key, lambda binary=binary: binary)
    assert cache.save()
    return cache


# ---------------------------------------------------------------------- round trip
def test_what_was_saved_is_found_by_the_next_process(path):
    cache = CacheFile(path, "model")
    assert cache.explain().reason == MISSING
    assert cache.find(KEY) is None
    cache.leave(KEY, lambda: b"binary")
    cache.put_tuned("conv 7x7", {"tile": [4, 8], "ns": 1.5})
    assert cache.explain().unsaved == 2
    assert cache.save()
    again = CacheFile(path, "model")
    assert again.find(KEY) == b"binary"
    assert again.tuned("conv 7x7") == {"tile": [4, 8], "ns": 1.5}
    assert again.tuned("conv 1x1") is None
    report = again.explain()
    assert (report.loaded, report.hits, report.misses) == (True, (KEY,), ())
    assert "1 kernels were found in it, 0 were not" in str(report)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_report_says_what_is_true_before_and_after_writing(path):
    cache = CacheFile(path, "model")
    assert str(cache.explain()).startswith(f"The kernel cache '{path}' does not exist yet.")
    cache.find(KEY)
    cache.leave(KEY, lambda: b"binary")
    before = str(cache.explain())
    assert "does not exist yet.\n0 kernels were found in it, 1 were not." in before
    assert "1 entries are not written yet" in before
    cache.save()
    after = str(cache.explain())
    assert "was written and holds 1 kernels of this model, 1 of them new.\n" in after
    assert "not written" not in after
    assert "not exist" not in after
    again = CacheFile(path, "model")
    again.find(KEY)
    assert "was loaded and holds 1 kernels of this model.\n1 kernels were" in str(again.explain())


def test_the_report_says_what_became_of_a_damaged_file(path):
    path.write_bytes(MAGIC + b"no more than that")
    path.chmod(0o600)
    cache = CacheFile(path, "model")
    assert "was not used: it is truncated" in str(cache.explain())
    cache.leave(KEY, lambda: b"binary")
    cache.save()
    said = str(cache.explain())
    assert "was written and holds 1 kernels of this model, 1 of them new; before, it is" in said


def test_the_report_says_that_a_strangers_file_is_not_written(path):
    path.write_bytes(b"somebody's thesis" * 10)
    path.chmod(0o600)
    cache = CacheFile(path, "model")
    cache.leave(KEY, lambda: b"binary")
    assert "Nothing is written: the file there is not a kernel cache." in str(cache.explain())


def test_nothing_is_written_when_nothing_is_new(path):
    cache = CacheFile(path, "model")
    assert not cache.save()
    assert not path.exists()
    filled(path)
    before = path.stat()
    again = CacheFile(path, "model")
    again.find(KEY)
    again.leave(KEY, lambda: pytest.fail("a kernel in the file is not fetched again"))
    again.put_tuned("t", {"a": 1})
    assert again.save()
    assert path.stat().st_ino != before.st_ino
    again.put_tuned("t", {"a": 1})
    assert not again.save()


def test_binaries_are_fetched_when_the_cache_is_saved(path):
    cache = CacheFile(path, "model")
    fetched = []
    cache.leave(KEY, lambda: fetched.append(KEY) or b"binary")
    cache.leave(KEY, lambda: pytest.fail("left twice, fetched once"))
    assert not fetched
    cache.save()
    assert fetched == [KEY]


def test_models_in_one_file_are_kept_apart(path):
    filled(path, "a", **{KEY: b"kernel of a"})
    filled(path, "b", **{KEY: b"kernel of b", "other @ there": b"x"})
    a, b = CacheFile(path, "a"), CacheFile(path, "b")
    assert (a.find(KEY), b.find(KEY)) == (b"kernel of a", b"kernel of b")
    assert a.find("other @ there") is None
    assert a.explain().other_models == 2
    assert "keeps 2 entries of other models" in str(a.explain())


def test_the_least_recently_saved_models_are_dropped(path):
    for i in range(MOST_SECTIONS):
        filled(path, f"model {i}")
    filled(path, "model 0", again=b"newer")
    filled(path, "one more")
    kept = decode(path.read_bytes()).sections
    assert len(kept) == MOST_SECTIONS
    assert "model 0" in kept
    assert "model 1" not in kept


def test_the_least_recently_used_kernels_are_dropped(path):
    cache = filled(path, **{f"k{i}": b"b" for i in range(MOST_ENTRIES)})
    cache.find("k0")
    cache.leave("one more", lambda: b"b")
    cache.find("one more")
    cache.save()
    kept = decode(path.read_bytes()).sections["model"].entries
    assert len(kept) == MOST_ENTRIES
    assert {"k0", "one more"} <= set(kept)
    assert "k1" not in kept


# ---------------------------------------------------------------------- damage
def small_file() -> bytes:
    sections = {
        "model": Section({KEY: b"0123456789", "b @ c": b""}, {"t": {"tile": 3}}),
        "other": Section({KEY: b"abcdef"}),
    }
    return encode(sections)


def test_a_flipped_bit_anywhere_is_noticed_and_nothing_wrong_is_found(path):
    whole = small_file()
    right = decode(whole).sections
    for position in range(len(whole)):
        for bit in (0, 7):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            try:
                contents = decode(bytes(damaged))
            except DamagedError:
                continue
            assert contents.damaged, f"bit {bit} of byte {position} went unnoticed"
            for model, section in contents.sections.items():
                assert section.tuned == right[model].tuned
                assert section.entries.items() <= right[model].entries.items()


def test_a_file_cut_anywhere_is_ignored_and_rebuilt(path, caplog):
    whole = small_file()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        path.chmod(0o600)
        caplog.clear()
        cache = CacheFile(path, "model")
        report = cache.explain()
        assert not report.loaded
        assert report.reason in caplog.text
        assert cache.find(KEY) is None
        cache.leave(KEY, lambda: b"rebuilt")
        cache.save()
        assert CacheFile(path, "model").find(KEY) == b"rebuilt"


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        (0, "first bytes"),
        (8, "schema version"),
        (12, "checksum of its index"),
        (19, "truncated: an index of"),
        (20, "checksum of its index"),
        (52, "checksum of its index"),
        (-1, "last bytes"),
    ],
    ids=["magic", "schema", "length", "huge length", "digest", "index", "end"],
)
def test_damage_of_each_field_is_named_and_rebuilt(path, caplog, position, reason):
    data = bytearray(small_file())
    data[position] ^= 1
    path.write_bytes(data)
    path.chmod(0o600)
    cache = CacheFile(path, "model")
    assert reason in cache.explain().reason
    assert cache.explain().reason in caplog.text
    cache.leave(KEY, lambda: b"rebuilt")
    cache.save()
    assert CacheFile(path, "model").find(KEY) == b"rebuilt"


def test_a_damaged_kernel_is_rejected_and_the_others_are_used(path, caplog):
    filled(path, "model", **{"bad @ x": b"BINARY", "good @ x": b"other"})
    filled(path, "neighbour")
    path.write_bytes(path.read_bytes().replace(b"BINARY", b"BINARX"))
    cache = CacheFile(path, "model")
    assert cache.find("bad @ x") is None
    assert cache.find("good @ x") == b"other"
    assert cache.explain().rejected == {"bad @ x": "its checksum is wrong"}
    assert "bad @ x" in caplog.text
    assert cache.save()
    assert not CacheFile(path, "model").explain().rejected
    assert CacheFile(path, "neighbour").find(KEY)


@pytest.mark.parametrize(
    "index",
    [
        "{}",
        "[3]",
        '[{"model": "m", "entries": [["k", -1, "00"]], "tuned": {}}]',
        '[{"model": "m", "entries": [["k", true, "00"]], "tuned": {}}]',
        '[{"model": "m", "entries": [["k", 99999999999, "00"]], "tuned": {}}]',
        '[{"model": "m", "entries": [], "tuned": {"k": 3}}]',
        "[" * 100_000,
        "[NaN",
    ],
)
def test_an_index_of_the_wrong_form_is_damage(index):
    text = index.encode()
    head = cache_format._FIXED.pack(MAGIC, SCHEMA, len(text), cache_format._seal(SCHEMA, text))
    with pytest.raises(DamagedError):
        decode(head + text + MAGIC)


def test_a_file_of_another_schema_version_is_ignored(path, monkeypatch):
    monkeypatch.setattr(cache_format, "SCHEMA", SCHEMA + 1)
    filled(path)
    monkeypatch.undo()
    reason = CacheFile(path, "model").explain().reason
    assert reason == f"it has schema version {SCHEMA + 1}, this version reads {SCHEMA}"


def test_a_file_that_never_was_a_cache_is_not_overwritten(path):
    path.write_bytes(b"\x08\x07\x12\x04 this is somebody's model" * 10)
    path.chmod(0o600)
    cache = CacheFile(path, "model")
    assert not cache.explain().loaded
    cache.leave(KEY, lambda: b"x")
    with pytest.raises(ConfigError, match="not a kernel cache; choose a path"):
        cache.save()
    assert b"somebody's model" in path.read_bytes()


# ---------------------------------------------------------------------- trust
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_ignored_and_replaced(path, mode):
    filled(path)
    path.chmod(mode)
    cache = CacheFile(path, "model")
    assert f"other users can write it (mode {mode:04o}" in cache.explain().reason
    assert cache.find(KEY) is None
    cache.leave(KEY, lambda: b"own")
    cache.save()
    assert path.stat().st_mode & 0o777 == 0o600
    assert CacheFile(path, "model").find(KEY) == b"own"


def test_a_file_of_another_user_is_ignored_and_kept(path, monkeypatch):
    filled(path)
    me = os.geteuid()
    monkeypatch.setattr(private_file.os, "geteuid", lambda: me + 1)
    cache = CacheFile(path, "model")
    assert cache.explain().reason == f"it belongs to user {me}, and this is {me + 1}"
    assert cache.find(KEY) is None
    cache.leave(KEY, lambda: b"x")
    with pytest.raises(ConfigError, match="belongs to user"):
        cache.save()


def test_a_symbolic_link_is_ignored_and_kept(path, tmp_path):
    filled(tmp_path / "target")
    path.symlink_to(tmp_path / "target")
    cache = CacheFile(path, "model")
    assert cache.explain().reason == "it is a symbolic link"
    cache.leave(KEY, lambda: b"x")
    with pytest.raises(ConfigError, match="not a regular file"):
        cache.save()
    assert path.is_symlink()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "folder"])
def test_what_is_not_a_file_is_ignored_without_waiting(path, make):
    make(path)
    cache = CacheFile(path, "model")
    assert cache.explain().reason == "it is not a regular file"
    cache.leave(KEY, lambda: b"x")
    with pytest.raises(ConfigError, match="not a regular file"):
        cache.save()


def test_a_folder_that_cannot_be_written_is_named_when_saving(tmp_path):
    cache = CacheFile(tmp_path / "absent" / "kernels.cache", "model")
    assert cache.explain().reason == MISSING
    cache.leave(KEY, lambda: b"x")
    with pytest.raises(ConfigError, match=r"absent/kernels\.cache': No such file.*choose a path"):
        cache.save()
    assert cache.dirty
    (tmp_path / "absent").mkdir()
    assert cache.save()
    assert CacheFile(cache.path, "model").find(KEY) == b"x"


def test_an_interrupted_save_leaves_the_old_file(path, monkeypatch):
    filled(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match="No space left"):
        filled(path, "model", **{"new @ x": b"y"})
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


def test_waiting_for_another_process_has_an_end(path):
    with (
        private_file.locked(path),
        pytest.raises(TimeoutError, match=r"\.lock' could not be acquired"),
        private_file.locked(path, timeout_s=0.05),
    ):
        pass


# ---------------------------------------------------------------------- several at once
WRITER = """
import sys
from engine.cache import CacheFile
path, model = sys.argv[1:]
for i in range(20):
    cache = CacheFile(path, model)
    assert all(cache.find(f"k{j} @ x") == model.encode() * 999 for j in range(i)), cache.explain()
    cache.leave(f"k{i} @ x", lambda: model.encode() * 999)
    cache.save()
"""


def test_processes_that_save_at_once_lose_nothing(path):
    models = [f"m{i}" for i in range(4)]
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), m], cwd=Path.cwd())
        for m in models
    ]
    assert [p.wait(60) for p in processes] == [0] * 4
    contents = decode(path.read_bytes())
    assert not contents.damaged
    assert {m: len(s.entries) for m, s in contents.sections.items()} == dict.fromkeys(models, 20)


def test_processes_of_the_same_model_add_to_each_other(path):
    first, second = CacheFile(path, "model"), CacheFile(path, "model")
    first.leave("a @ x", lambda: b"a")
    second.leave("b @ x", lambda: b"b")
    first.save()
    second.save()
    third = CacheFile(path, "model")
    assert (third.find("a @ x"), third.find("b @ x")) == (b"a", b"b")


def test_threads_that_save_one_cache_lose_nothing(path):
    cache = CacheFile(path, "model")

    def work(i: int) -> None:
        cache.leave(f"k{i} @ x", lambda: b"b")
        cache.save()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(decode(path.read_bytes()).sections["model"].entries) == 8


# ---------------------------------------------------------------------- keys and devices
def test_kernels_of_another_driver_are_named_and_not_used(path):
    filled(path, "model", **{"conv 1 @ driver 1": b"old"})
    cache = CacheFile(path, "model")
    assert cache.find("conv 1 @ driver 2") is None
    assert cache.explain().rejected == {
        "conv 1 @ driver 1": "it was compiled for another device or driver; this is driver 2"
    }


def test_everything_a_program_depends_on_is_in_its_key(monkeypatch):
    info = registry.opencl_context(OPENCL).info
    key = program_cache.key("conv", "text", ("-DA",), info)
    others = [
        program_cache.key("pool", "text", ("-DA",), info),
        program_cache.key("conv", "Text", ("-DA",), info),
        program_cache.key("conv", "text", ("-DB",), info),
        program_cache.key("conv", "text", ("-DA",), replace(info, name="x")),
        program_cache.key("conv", "text", ("-DA",), replace(info, platform="x")),
        program_cache.key("conv", "text", ("-DA",), replace(info, version="x")),
        program_cache.key("conv", "text", ("-DA",), replace(info, driver="x")),
    ]
    for name in ("MEMORY", "TUNING", "_processor"):
        with monkeypatch.context() as patch:
            patch.setattr(program_cache, name, (lambda: "x") if name == "_processor" else "x")
            others.append(program_cache.key("conv", "text", ("-DA",), info))
    assert len({key, *others}) == 1 + len(others)


def small_program(context):
    return context.program("softmax", ("-DSTORAGE=float", "-DCOMPUTE=float"))


def test_a_program_that_is_in_memory_already_is_left_in_every_cache(path):
    context = registry.opencl_context(OPENCL)
    for model in ("first", "second"):
        context.cache = CacheFile(path, model)
        small_program(context)
        assert context.cache.explain().unsaved == 1
    assert context.builds == 1


def test_a_flipped_bit_in_a_real_file_never_reaches_the_driver(path):
    context = registry.opencl_context(OPENCL)
    context.cache = CacheFile(path, "model")
    small_program(context)
    context.cache.save()
    whole = path.read_bytes()
    (key, binary), *_ = decode(whole).sections["model"].entries.items()
    for position in np.random.default_rng(0).integers(0, len(whole), 100):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        assert CacheFile(path, "model").find(key) is None, position
    path.write_bytes(whole)
    assert CacheFile(path, "model").find(key) == binary


def test_a_kernel_that_the_driver_refuses_is_built_from_source(path, monkeypatch):
    first = registry.opencl_context(OPENCL)
    first.cache = CacheFile(path, "model")
    small_program(first)
    first.cache.save()
    context = registry.opencl_context(OPENCL)
    context.cache = cache = CacheFile(path, "model")

    def refuse(*_: object) -> None:
        raise context.cl.LogicError("INVALID_BINARY")

    with monkeypatch.context() as patch:
        patch.setattr(program_cache, "from_binary", refuse)
        small_program(context)
    report = cache.explain()
    assert context.builds == 1
    assert (len(report.hits), len(report.misses)) == (0, 1)
    assert "the driver refuses it (INVALID_BINARY" in str(report)
    assert cache.save()
    third = registry.opencl_context(OPENCL)
    third.cache = CacheFile(path, "model")
    small_program(third)
    assert (third.builds, len(third.cache.explain().hits)) == (0, 1)


def swapped(binaries: dict[str, bytes]) -> dict[str, bytes]:
    """Every program's key with the binary of another: digests are right, kernels are not there."""
    *others, last = binaries.values()
    return dict(zip(binaries, [last, *others], strict=True))


def without_arguments(binaries: dict[str, bytes]) -> dict[str, bytes]:
    """Programs whose kernels have the right names, and take nothing."""
    context = registry.opencl_context(OPENCL)
    cl, made = context.cl, {}
    for key in binaries:
        names = dict.fromkeys(re.findall(r"kernel\s+void\s+(\w+)\(", source(key.split()[0])))
        text = "\n".join(f"kernel void {name}() {{}}" for name in names)
        with program_cache.quiet(cl):
            program = cl.Program(context.context, text).build(cache_dir=False)
        made[key] = program_cache.to_binary(cl, program, context.device)
    return made


@pytest.mark.parametrize("spoil", [swapped, without_arguments])
def test_an_entry_whose_kernels_the_driver_refuses_is_built_anew_and_replaced(
    path, spoil, monkeypatch
):
    x = feeds("conv", 0)["x"]

    def run() -> tuple[bytes, CacheReport, int]:
        monkeypatch.setattr(program_cache, "BUILT", program_cache.Binaries(64 << 20))
        interpreter = Interpreter.from_buffer(MODELS["conv"])
        interpreter.set_cache_file(path)
        with interpreter.create_session(CONFIG, shapes={"x": x.shape}) as session:
            y = session({"x": x})["y"].tobytes()
            builds = session.execution.backends["opencl"].context.builds
            return y, interpreter.update_cache_file(session), builds

    right, _, built = run()
    contents = decode(path.read_bytes())
    ((model, section),) = contents.sections.items()
    assert len(section.entries) == built > 1
    spoiled = spoil(section.entries)
    path.write_bytes(encode({model: Section(spoiled, section.tuned)}))
    again, report, rebuilt = run()
    assert again == right
    assert rebuilt == built
    assert (len(report.hits), len(report.misses)) == (0, built)
    assert "the driver refuses its kernel" in str(report)
    replaced = decode(path.read_bytes()).sections[model].entries
    assert all(replaced[key] != spoiled[key] for key in spoiled)
    last, report, rebuilt = run()
    assert (last, rebuilt, len(report.misses)) == (right, 0, 0)


CHILD = """
import dataclasses, hashlib, json, sys
from engine.interpreter import Interpreter
from engine.runtime import Runtime
from fixtures.models.corpus import by_name
from tests.test_cache_file import CONFIG

model = by_name("tiny_resnet")
feeds = model.feeds(0)
interpreter = Interpreter.from_file(model.path)
interpreter.set_cache_file(sys.argv[1])
with Runtime() as runtime:
    session = interpreter.create_session(CONFIG, runtime, {k: v.shape for k, v in feeds.items()})
    outputs = session(feeds)
    interpreter.update_cache_file()
    report, digest = interpreter.explain_cache(), hashlib.sha256()
    for array in outputs.values():
        digest.update(array.tobytes())
    builds = runtime.backend(CONFIG.type, CONFIG).context.builds
    print(json.dumps([builds, len(report.hits), len(report.misses), digest.hexdigest()]))
    session.close()
"""


def test_a_second_process_compiles_nothing_and_computes_the_same_bits(path, tmp_path):
    runs = []
    for i in range(3):
        if i == 2:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        drivers_own = tmp_path / f"driver {i}"
        drivers_own.mkdir()
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(path)],
            env={**os.environ, "POCL_CACHE_DIR": str(drivers_own), "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        )
        runs.append(json.loads(child.stdout))
    (cold, none, missed, right), warm, damaged = runs
    assert (cold, none) == (missed, 0)
    assert warm == [0, missed, 0, right]
    assert damaged == [1, missed - 1, 1, right]


# ---------------------------------------------------------------------- fingerprints
def graph_of(name: str):
    return Interpreter.from_file(by_name(name).path).graph


def test_a_fingerprint_is_the_same_in_every_process():
    here = fingerprint(graph_of("tiny_transformer"))
    code = (
        "from tests.test_cache_file import fingerprint, graph_of\n"
        "print(fingerprint(graph_of('tiny_transformer')))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": "."}
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=environment, text=True).strip() == here


def test_models_that_differ_in_structure_have_different_fingerprints():
    names = ["tiny_resnet", "tiny_transformer", "tiny_detector", "tiny_audio", "tiny_functions"]
    assert len({fingerprint(graph_of(name)) for name in names}) == len(names)
    graph = graph_of("tiny_resnet")
    before = fingerprint(graph)
    node = next(n for n in graph.nodes if n.attributes)
    node.attributes["pads"] = (9, 9, 9, 9)
    changed = fingerprint(graph)
    graph.inputs[0].type = replace(graph.inputs[0].known_type, shape=(7, 3, 32, 32))
    assert len({before, changed, fingerprint(graph)}) == 3


def test_weights_of_the_same_shape_do_not_change_a_fingerprint():
    graph = graph_of("tiny_resnet")
    before = fingerprint(graph)
    value = next(v for v in graph.values() if v.constant is not None and v.constant.nbytes > 1024)
    value.constant = np.zeros_like(value.constant)
    assert fingerprint(graph) == before
    value.constant = np.zeros((3, 3), np.float32)
    value.type = replace(value.known_type, shape=(3, 3))
    assert fingerprint(graph) != before

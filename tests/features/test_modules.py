"""Module and Var: lazy results that stay where they are needed."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from engine import (
    ClosedError,
    ConfigError,
    GraphPath,
    InputError,
    ModelError,
    Precision,
    Runtime,
    ScheduleConfig,
)
from engine.backends.opencl import program_cache
from engine.backends.opencl.backend import OpenCLBackend
from engine.module import Module
from engine.var import Var
from tests.features.subjects import (
    CHAIN,
    CONVOLUTIONS,
    DEVICES,
    OPENCL,
    TWO,
    blocked,
    chain_of,
    config,
    context_of,
    image,
    on_every_device,
    row,
    rows_of,
)
from tests.model_writing import model_bytes, node


@pytest.fixture(params=DEVICES)
def chain(request: pytest.FixtureRequest, runtime: Runtime):
    with Module.load(CHAIN, config=config(request.param), runtime=runtime) as module:
        yield module


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often tensors went between the host and OpenCL."""
    counts: Counter[str] = Counter()

    def count(name: str) -> None:
        right = getattr(OpenCLBackend, name)

        def counted(self, *arguments):
            counts[name] += 1
            return right(self, *arguments)

        monkeypatch.setattr(OpenCLBackend, name, counted)

    for name in ("read", "read_later", "write"):
        count(name)
    return counts


# ------------------------------------------------------------------------- loading (row 39)
@row(39)
@on_every_device
def test_a_module_from_a_file_and_from_bytes_computes_the_same(
    device: str, tmp_path: Path, runtime: Runtime
):
    path = tmp_path / "chain.onnx"
    path.write_bytes(CHAIN)
    x = rows_of(3)
    for source in (CHAIN, path, str(path)):
        with Module.load(source, config=config(device), runtime=runtime) as module:
            assert (module.inputs, module.outputs) == (("x",), ("y",))
            np.testing.assert_allclose(module.forward(x).read_map(), chain_of(x), rtol=1e-5)


@row(39)
@on_every_device
def test_inputs_and_outputs_come_in_the_order_asked_for(device: str, runtime: Runtime):
    z, a = np.full((1, 3), 5, np.float32), np.full((1, 3), 2, np.float32)
    with Module.load(TWO, config=config(device), runtime=runtime) as module:
        assert (module.inputs, module.outputs) == (("zebra", "ant"), ("second", "first"))
        second, first = module.on_forward([z, a])
        np.testing.assert_array_equal(first.read_map(), z - a)
        expected = second.read_map()
    names = ["ant", "zebra"], ["first", "second"]
    with Module.load(TWO, *names, config=config(device), runtime=runtime) as module:
        first, swapped = module.on_forward([a, z])
        np.testing.assert_array_equal(first.read_map(), z - a)
        np.testing.assert_allclose(swapped.read_map(), expected, rtol=1e-6)


@row(39)
@on_every_device
def test_names_of_intermediate_tensors_cut_the_model(device: str, runtime: Runtime):
    x = image(2, 5)
    options = {"config": config(device), "runtime": runtime, "shapes": {"x": x.shape}}
    with (
        Module.load(CONVOLUTIONS, **options) as whole,
        Module.load(CONVOLUTIONS, ["x"], ["f"], **options) as head,
        Module.load(CONVOLUTIONS, ["f"], ["y"], **options) as tail,
        Module.load(CONVOLUTIONS, None, ["f"], **options) as same_head,
    ):
        (middle,) = head.on_forward([x])
        assert middle.shape == (2, 4, 5, 5)
        got = tail.forward(middle).read_map()
        np.testing.assert_allclose(got, whole.forward(x).read_map(), rtol=1e-5)
        np.testing.assert_array_equal(same_head.forward(x).read_map(), middle.read_map())


@row(39)
def test_only_the_inputs_that_the_outputs_need_are_asked_for(runtime: Runtime):
    nodes = [node("Relu", "a", "p"), node("Tanh", "b", "q")]
    data = model_bytes(nodes, {"a": (2,), "b": (2,)}, ["p", "q"])
    with Module.load(data, outputs=["q"], runtime=runtime) as module:
        assert module.inputs == ("b",)
        (q,) = module.on_forward([np.ones(2, np.float32)])
        np.testing.assert_allclose(q.read_map(), np.tanh(1), rtol=1e-6)


@row(39)
def test_what_cannot_be_loaded_raises(runtime: Runtime):
    with pytest.raises(ModelError, match=r"absent\.onnx"):
        Module.load("absent.onnx")
    with pytest.raises(ModelError):
        Module.load(b"junk")
    for names in ((["q"], None), (None, ["q"]), (["x"], ["q"])):
        with pytest.raises(InputError, match="no tensor named 'q'"):
            Module.load(CHAIN, *names, runtime=runtime)
    settings = config(path=GraphPath(("the_r",), ("the_s",)))
    with pytest.raises(InputError, match="name inputs and outputs, or give a config with a path"):
        Module.load(CHAIN, ["x"], ["s"], config=settings, runtime=runtime)


@row(39)
@pytest.mark.usefixtures("two_cores")
def test_a_configuration_that_contradicts_the_runtime_is_refused(fresh: Runtime):
    one = Module.load(CHAIN, config=ScheduleConfig(num_threads=1), runtime=fresh)
    with pytest.raises(ConfigError, match=r"1 threads.*2 were asked for"):
        Module.load(CHAIN, config=ScheduleConfig(num_threads=2), runtime=fresh)
    one.close()


@row(39)
def test_wrong_arguments_raise(chain: Module):
    x = rows_of(2)
    with pytest.raises(InputError, match=r"got 2 inputs, expected \['x'\]"):
        chain.on_forward([x, x])
    with pytest.raises(InputError, match="got 0 inputs"):
        chain.on_forward([])
    with pytest.raises(InputError, match="'x'"):
        chain.forward(np.zeros((2, 5), np.float32))
    with pytest.raises(InputError, match=r"got float64\[2, 4\], expected float32"):
        chain.forward(x.astype(np.float64))
    np.testing.assert_allclose(chain.forward(x).read_map(), chain_of(x), rtol=1e-5)


@row(39)
def test_forward_is_for_one_output(runtime: Runtime):
    with Module.load(TWO, runtime=runtime) as module:
        z = np.ones((1, 3), np.float32)
        with pytest.raises(InputError, match=r"\['second', 'first'\]; use on_forward"):
            module.forward(z, z)


@row(39)
@on_every_device
def test_a_module_is_called_like_a_function(device: str, runtime: Runtime):
    x, ones = rows_of(2), np.ones((1, 3), np.float32)
    with (
        Module.load(CHAIN, config=config(device), runtime=runtime) as one,
        Module.load(TWO, config=config(device), runtime=runtime) as two,
    ):
        assert isinstance(one(x), Var)
        np.testing.assert_array_equal(one(x), one.forward(x))
        second, first = two(ones, -ones)
        np.testing.assert_array_equal(first, 2 * ones)
        np.testing.assert_array_equal(second, two.on_forward([ones, -ones])[0])
        with pytest.raises(InputError, match=r"got 1 inputs, expected \['zebra', 'ant'\]"):
            two(ones)


@row(39)
def test_a_module_speaks_of_itself_in_errors_and_in_print(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
):
    module = Module.load(CHAIN, runtime=runtime)
    assert repr(module) == "<Module 'test': x -> y>"
    with pytest.raises(ConfigError, match="<Module 'test': x -> y> has no plan yet: call it once"):
        module.info()
    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: -1)
        with pytest.raises(ClosedError, match="this Module was made before this process was"):
            module(rows_of(2))
    unread = module(rows_of(2))
    assert repr(unread) == "<Var float32[2,4], of a module>"
    assert "3 on cpu" in str(module.info())
    module.close()
    assert repr(module) == "<Module 'test': x -> y, closed>"
    for call in (module.info, module.clone, lambda: module(rows_of(2))):
        with pytest.raises(ClosedError, match="this Module is closed"):
            call()
    with pytest.raises(ClosedError, match="this result was not read before its Module was closed"):
        unread.read_map()


@row(39)
def test_a_cache_file_is_written_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, x = tmp_path / "kernels", rows_of(2)
    results, built = [], []
    for _ in range(2):
        monkeypatch.setattr(program_cache, "BUILT", program_cache.Binaries(1 << 20))
        with (
            Runtime() as runtime,
            Module.load(
                CHAIN,
                config=config(OPENCL),
                runtime=runtime,
                shapes={"x": x.shape},
                cache_file=path,
            ) as module,
        ):
            results.append(module.forward(x).read_map())
            built.append(sum({id(c): c.builds for c in contexts(runtime)}.values()))
    np.testing.assert_array_equal(*results)
    assert built[0] > 0
    assert built[1] == 0


@row(39)
def test_a_cache_file_is_written_with_free_dimensions_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, x = tmp_path / "kernels", rows_of(2)
    written, results = [], []
    for _ in range(2):
        monkeypatch.setattr(program_cache, "BUILT", program_cache.Binaries(1 << 20))
        with (
            Runtime() as fresh,
            Module.load(CHAIN, config=config(OPENCL), runtime=fresh, cache_file=path) as module,
        ):
            assert path.exists() == bool(results)
            results.append(module(x).read_map())
            built = sum({id(c): c.builds for c in contexts(fresh)}.values())
            for count in (3, 4, 2):
                np.testing.assert_allclose(
                    module(rows_of(count)), chain_of(rows_of(count)), rtol=1e-5
                )
            assert path.exists() == bool(written), "no result waits for the file"
        written.append(path.stat().st_mtime_ns)
    np.testing.assert_array_equal(*results)
    assert written[0] == written[1]
    assert built == 0


@row(39)
@on_every_device
def test_a_cache_file_that_cannot_be_written_costs_no_result(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime
):
    def fail(*_: object) -> None:
        raise ConfigError("the disk is full")

    monkeypatch.setattr("engine.cache.CacheFile.save", fail)
    options = {"config": config(device), "runtime": runtime, "cache_file": tmp_path / "kernels"}
    with Module.load(CHAIN, **options) as module:
        for count in (2, 2, 3):
            x = rows_of(count)
            np.testing.assert_allclose(module(x), chain_of(x), rtol=1e-5)


def contexts(runtime: Runtime) -> list:
    return [b.context for b in runtime._made() if b.name == "opencl"]


# ------------------------------------------------------------------------- lazy results
@row(39)
def test_a_result_is_there_before_its_value(runtime: Runtime):
    with Module.load(CHAIN, config=config(OPENCL), runtime=runtime) as module:
        module.forward(rows_of(2)).read_map()
        x, context = rows_of(2, 3), context_of(module._session)
        with blocked(context):
            y = module.forward(x)
            assert y.is_on_device
            assert (y.shape, y.dtype) == ((2, 4), np.float32)
            reader = threading.Thread(target=y.read_map)
            reader.start()
            reader.join(0.1)
            assert reader.is_alive()
        reader.join(10)
        assert not reader.is_alive()
        np.testing.assert_allclose(y.read_map(), chain_of(x), rtol=1e-5)


@row(39)
def test_reading_twice_copies_once_and_gives_a_read_only_array(
    runtime: Runtime, transfers: Counter[str]
):
    with Module.load(CHAIN, config=config(OPENCL), runtime=runtime) as module:
        y = module.forward(rows_of(2))
        transfers.clear()
        first, second = y.read_map(), y.read_map()
        assert transfers == {"read_later": 1}
        np.testing.assert_array_equal(first, second)
        with pytest.raises(ValueError, match="read-only"):
            first[0] = 0


@row(39)
def test_old_results_survive_later_forwards(chain: Module):
    frames = [rows_of(2, seed) for seed in range(4)]
    results = [chain.forward(frame) for frame in frames]
    for frame, result in zip(frames, results):
        np.testing.assert_allclose(result.read_map(), chain_of(frame), rtol=1e-5)
    results = [chain.forward(rows_of(count)) for count in (1, 5, 2)]
    for count, result in zip((1, 5, 2), results):
        np.testing.assert_allclose(result.read_map(), chain_of(rows_of(count)), rtol=1e-5)


@row(39)
def test_an_old_result_is_set_aside_on_the_device_and_only_while_it_is_wanted(
    fresh: Runtime, transfers: Counter[str]
):
    x = rows_of(64)
    with Module.load(CHAIN, config=config(OPENCL), runtime=fresh, shapes={"x": x.shape}) as module:
        live = fresh.live().nbytes
        kept = module.forward(x)
        transfers.clear()
        module.forward(-x)
        assert transfers == {"write": 1}
        assert fresh.live().nbytes == live + x.nbytes
        np.testing.assert_allclose(kept.read_map(), chain_of(x), rtol=1e-5)
        del kept
        gc.collect()
        module.forward(x)
        module.forward(x)
        assert fresh.live().nbytes == live


@row(39)
def test_a_module_may_be_fed_its_own_result(chain: Module):
    x = rows_of(2)
    y = chain.forward(chain.forward(chain.forward(x)))
    expected = chain_of(chain_of(chain_of(x)))
    np.testing.assert_allclose(y.read_map(), expected, rtol=1e-5)


@row(39)
@on_every_device
def test_the_same_var_may_be_given_twice(device: str, runtime: Runtime):
    with Module.load(TWO, config=config(device), runtime=runtime) as module:
        var = Var(np.ones((2, 3), np.float32))
        _, first = module.on_forward([var, var])
        _, again = module.on_forward([first, first])
        assert not again.read_map().any()


# ------------------------------------------------------------------------- the user's Vars
@row(39)
def test_a_var_is_a_copy_of_the_array_it_was_made_of(chain: Module):
    x = rows_of(2)
    var = Var(x)
    x[:] = 0
    assert not var.is_on_device
    assert (var.shape, var.dtype) == ((2, 4), np.float32)
    np.testing.assert_array_equal(var.read_map(), rows_of(2))
    np.testing.assert_allclose(chain.forward(var).read_map(), chain_of(rows_of(2)), rtol=1e-5)


@row(39)
def test_what_is_written_through_write_map_is_seen_by_the_next_forward(chain: Module):
    var = Var.empty((2, 4))
    np.testing.assert_allclose(chain.forward(var).read_map(), chain_of(np.zeros((2, 4))), rtol=1e-5)
    var.write_map()[:] = rows_of(2)
    np.testing.assert_allclose(chain.forward(var).read_map(), chain_of(rows_of(2)), rtol=1e-5)


@row(39)
def test_a_result_that_is_written_to_becomes_the_users_array(chain: Module):
    x = rows_of(2)
    y = chain.forward(x)
    y.write_map()[0] = 9
    assert not y.is_on_device
    expected = chain_of(x)
    expected[0] = 9
    np.testing.assert_allclose(y.read_map(), expected, rtol=1e-5)
    np.testing.assert_allclose(chain.forward(y).read_map(), chain_of(expected), rtol=1e-5)
    np.testing.assert_allclose(y.read_map(), expected, rtol=1e-5)


# ------------------------------------------------------------------------- from module to module
@row(39)
@pytest.mark.parametrize("precisions", [("high", "high"), ("high", "normal"), ("normal", "high")])
def test_a_var_passes_between_modules_without_the_host(
    precisions: tuple[str, str], runtime: Runtime, transfers: Counter[str]
):
    x = rows_of(2)
    first, second = (
        Module.load(CHAIN, config=config(OPENCL, Precision(p)), runtime=runtime, shapes=shapes)
        for p, shapes in zip(precisions, ({"x": (2, 4)}, {"x": (2, 4)}))
    )
    with first, second:
        transfers.clear()
        y = first.forward(x)
        z = second.forward(y)
        assert transfers == {"write": 1}
        assert z.is_on_device
        np.testing.assert_allclose(z.read_map(), chain_of(chain_of(x)), atol=5e-3)
        np.testing.assert_allclose(y.read_map(), chain_of(x), atol=5e-3)
        assert transfers == {"write": 1, "read_later": 2}


@row(39)
def test_a_var_set_aside_still_passes_without_the_host(runtime: Runtime, transfers: Counter[str]):
    x = rows_of(2)
    shapes = {"x": x.shape}
    one = Module.load(CHAIN, config=config(OPENCL), runtime=runtime, shapes=shapes)
    two = Module.load(CHAIN, config=config(OPENCL), runtime=runtime, shapes=shapes)
    with one, two:
        old = one.forward(x)
        one.forward(-x)
        transfers.clear()
        z = two.forward(old)
        assert not transfers
        np.testing.assert_allclose(z.read_map(), chain_of(chain_of(x)), rtol=1e-5)


@row(39)
@pytest.mark.parametrize("devices", [("cpu", OPENCL), (OPENCL, "cpu")])
def test_a_var_passes_between_devices(devices: tuple[str, str], runtime: Runtime):
    x = rows_of(2)
    one, two = (Module.load(CHAIN, config=config(d), runtime=runtime) for d in devices)
    with one, two:
        y = two.forward(one.forward(x))
        np.testing.assert_allclose(y.read_map(), chain_of(chain_of(x)), rtol=1e-5)


@row(39)
@on_every_device
def test_a_var_passes_between_runtimes(device: str, runtime: Runtime, fresh: Runtime):
    x = rows_of(2)
    one = Module.load(CHAIN, config=config(device), runtime=runtime)
    two = Module.load(CHAIN, config=config(device), runtime=fresh)
    with one, two:
        y = two.forward(one.forward(x))
        np.testing.assert_allclose(y.read_map(), chain_of(chain_of(x)), rtol=1e-5)


# ------------------------------------------------------------------------- life
@row(39)
def test_results_that_were_read_survive_close_and_others_raise(chain: Module):
    read, unread = chain.forward(rows_of(1)), None
    read.read_map()
    unread = chain.forward(rows_of(2))
    chain.close()
    chain.close()
    np.testing.assert_allclose(read.read_map(), chain_of(rows_of(1)), rtol=1e-5)
    with pytest.raises(ClosedError):
        unread.read_map()
    with pytest.raises(ClosedError):
        chain.forward(rows_of(1))
    with pytest.raises(ClosedError):
        chain.info()


@row(39)
def test_a_module_without_references_frees_its_memory_once_its_results_are_gone(fresh: Runtime):
    x = rows_of(2)
    result = Module.load(CHAIN, config=config(OPENCL), runtime=fresh).forward(x)
    gc.collect()
    np.testing.assert_allclose(result.read_map(), chain_of(x), rtol=1e-5)
    del result
    gc.collect()
    fresh.trim()
    assert fresh.live().nbytes == 0


@row(39)
@on_every_device
def test_info_is_that_of_the_session(device: str, runtime: Runtime):
    options = {"config": config(device), "runtime": runtime, "shapes": {"x": (2, 4)}}
    with Module.load(CHAIN, **options) as module:
        assert [op.name for op in module.info().operators] == ["the_r", "the_s", "the_y"]


# ------------------------------------------------------------------------- clones (row 40)
@row(40)
@on_every_device
def test_a_clone_shares_weights_and_kernels_and_not_results(device: str, fresh: Runtime):
    x = image()
    options = {"config": config(device), "runtime": fresh, "shapes": {"x": x.shape}}
    with Module.load(CONVOLUTIONS, **options) as module:
        y = module.forward(x)
        before = fresh.live().nbytes
        builds = [b.builds for b in fresh._made()]
        with module.clone() as clone:
            name = "cpu" if device == "cpu" else "opencl"
            assert fresh.live().nbytes - before == clone.info().memory[name].kept_nbytes
            assert [b.builds for b in fresh._made()] == builds
            clone.forward(-x)
            np.testing.assert_array_equal(clone.forward(x).read_map(), y.read_map())
        np.testing.assert_array_equal(module.forward(x).read_map(), y.read_map())


@row(40)
@on_every_device
def test_clones_outlive_their_original(device: str):
    x = rows_of(2)
    module = Module.load(CHAIN, config=config(device))
    clone = module.clone()
    module.close()
    np.testing.assert_allclose(clone.forward(x).read_map(), chain_of(x), rtol=1e-5)
    clone.close()


@row(40)
@on_every_device
def test_clones_on_threads_give_what_they_give_alone(device: str, runtime: Runtime):
    module = Module.load(CHAIN, config=config(device), runtime=runtime)
    expected = [module.forward(rows_of(2 + n, n)).read_map() for n in range(4)]
    wrong: list[int] = []

    def work(n: int) -> None:
        with module.clone() as mine:
            for _ in range(20):
                got = mine.forward(rows_of(2 + n, n)).read_map()
                if got.tobytes() != expected[n].tobytes():
                    wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
    module.close()


@row(40)
def test_threads_that_share_a_module_take_turns(chain: Module):
    expected = [chain.forward(rows_of(3, n)).read_map() for n in range(4)]
    got: dict[tuple[int, int], np.ndarray] = {}

    def work(n: int) -> None:
        for turn in range(15):
            got[n, turn] = chain.forward(rows_of(3, n)).read_map()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 60
    for (n, _), array in got.items():
        np.testing.assert_array_equal(array, expected[n])


@row(40)
def test_a_clone_of_a_released_model_says_so(runtime: Runtime):
    module = Module.load(CHAIN, runtime=runtime)
    module._interpreter.release_model()
    with pytest.raises(ConfigError, match="release_model"):
        module.clone()
    module.close()

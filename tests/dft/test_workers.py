"""What worker processes of quantum chemistry inherit."""

import os

import pytest

from probe.dft import workers


def inherited(name):
    """The variable ``name`` as a real worker process has it."""
    with workers.pool() as pool:
        return pool.result(pool.submit(os.getenv, name), name)


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Says what Linux knows of the processor, in place of this machine's."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(workers, "CPU_INFO", path)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    return path


class TestEnvironment:
    def test_one_thread_and_the_parent_keeps_its_own(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        assert [inherited(name) for name in workers.THREADS] == ["1", "1", "1"]
        assert os.environ["OMP_NUM_THREADS"] == "7"

    def test_kernels_with_avx2_where_the_processor_has_it(self, processor):
        processor.write_text("flags : fpu sse2 fma avx2\n")
        assert inherited("OPENBLAS_CORETYPE") == "Haswell"
        assert "OPENBLAS_CORETYPE" not in os.environ

    @pytest.mark.parametrize("flags", ["flags : fpu sse2\n", "Features : fp asimd\n", None])
    def test_and_nowhere_else(self, processor, flags):
        if flags:
            processor.write_text(flags)
        assert inherited("OPENBLAS_CORETYPE") is None

    def test_what_the_user_set_stays(self, processor, monkeypatch):
        processor.write_text("flags : fma avx2\n")
        monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
        assert inherited("OPENBLAS_CORETYPE") == "Zen"

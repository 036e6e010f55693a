"""MACE's weights: mace-torch's downloads, files of the user's own, and none that is not trusted."""

import pickle
import urllib.error
from pathlib import Path

import pytest
import torch
from tiny_mace import WATER

from probe import tables, weights
from probe.backbones import mace as adapter
from probe.errors import ProbeError


class TestLoaders:
    @pytest.fixture
    def small(self):
        return weights.entry("mace-off23-small")

    @pytest.fixture(autouse=True)
    def downloads(self, monkeypatch, tmp_path):
        """mace-torch's cache in a folder of this test, and no host that can be reached."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

        def unreachable(url, **_):
            raise urllib.error.URLError(f"no route to {url.split('/')[2]}")

        loaders = adapter.imported("calculators.foundations_models")
        monkeypatch.setattr(loaders.urllib.request, "urlopen", unreachable)
        return tmp_path / "cache/mace"

    def test_every_name_is_one_that_mace_torch_knows(self):
        loaders = adapter.imported("calculators.foundations_models")
        known = {"mace_mp": loaders.mace_mp_urls, "mace_off": loaders.mace_off_urls}
        for name, entry in weights.entries().items():
            if entry.adapter == "mace" and entry.path is None:
                model = entry.source["model"]
                assert model in known[entry.source["loader"]] or name == "mace-off24-medium"

    def test_names_say_their_licence(self):
        licences = {name: entry.licence[:3] for name, entry in weights.entries().items()}
        assert licences["mace-off23-small"] == licences["mace-off24-medium"] == "ASL"
        assert licences["mace-mp-medium"] == licences["mace-mp-medium-mpa-0"] == "MIT"
        assert licences["mace-mp-small-omat-0"] == licences["mace-matpes-pbe-0"] == "ASL"

    def test_a_host_that_cannot_be_reached_is_a_line(self, small, tmp_path, capfd):
        with pytest.raises(ProbeError) as raised:
            weights.fetch(small, tmp_path / "weights")
        assert str(raised.value) == (
            "cannot get the weights of mace-off23-small: mace-torch small: download failed "
            "(<urlopen error no route to raw.githubusercontent.com>); where a browser gets "
            "https://raw.githubusercontent.com/ACEsuit/mace-off/main/mace_off23/"
            "MACE-OFF23_small.model, give that file with --from"
        )
        said = capfd.readouterr()
        assert "the licence of mace-off23-small is ASL" in said.err
        assert said.out == ""

    def test_offline_it_says_what_to_do(self, small, tmp_path):
        with pytest.raises(ProbeError) as raised:
            weights.fetch(small, tmp_path / "weights", offline=True)
        said = str(raised.value)
        assert f"needed is {tmp_path}/weights/mace-off23-small.model" in said
        assert said.endswith("run `probe weights fetch mace-off23-small --from FILE`")

    def test_what_mace_torch_has_downloaded_before_is_used_if_it_is_the_listed_file(
        self, small, tmp_path, downloads
    ):
        downloads.mkdir(parents=True)
        (downloads / "MACE-OFF23_small.model").write_bytes(b"something else")
        with pytest.raises(ProbeError, match=r"small\.model: it has sha256 .* it is not used"):
            weights.fetch(small, tmp_path / "weights", offline=True)


class TestPinnedByTheFirstFetch:
    """Of a name whose file nobody has listed, mace-torch's download is trusted once."""

    @pytest.fixture
    def unlisted(self):
        return weights.entry("mace-mp-small")

    @pytest.fixture
    def folder(self, unlisted, mace_content, monkeypatch, tmp_path):
        """The weights folder after a fetch."""
        monkeypatch.setattr(adapter, "_download", lambda _: mace_content)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        weights.fetch(unlisted, tmp_path / "weights")
        return tmp_path / "weights"

    def test_digest_and_fingerprint_are_written_down(self, unlisted, folder, mace, mace_content):
        record = tables.read_json(folder / "mace-mp-small.json")
        assert record["fingerprint"] == mace.fingerprint
        assert (folder / "mace-mp-small.model").read_bytes() == mace_content
        assert weights.fingerprint(unlisted, folder) == mace.fingerprint
        assert weights.locate(unlisted, folder).sha256 == record["sha256"]

    def test_another_file_is_refused_from_then_on(self, unlisted, folder, built, monkeypatch):
        other = built(seed=1)
        (folder / "mace-mp-small.model").write_bytes(other)
        with pytest.raises(ProbeError, match=r"mace-mp-small\.model has sha256 .* not used"):
            weights.locate(unlisted, folder)
        (folder / "mace-mp-small.model").unlink()
        monkeypatch.setattr(adapter, "_download", lambda _: other)
        with pytest.raises(ProbeError, match=r"mace-torch small: it has sha256 .* not used"):
            weights.fetch(unlisted, folder)

    def test_a_file_that_no_fetch_has_pinned_is_not_read(self, unlisted, mace_content, tmp_path):
        (tmp_path / "mace-mp-small.model").write_bytes(mace_content)
        with pytest.raises(ProbeError, match="no digest of mace-mp-small is listed"):
            weights.locate(unlisted, tmp_path)

    def test_a_local_file_needs_a_digest_from_the_user(self, unlisted, mace_content, tmp_path):
        local, folder = tmp_path / "a.model", tmp_path / "weights"
        local.write_bytes(mace_content)
        with pytest.raises(ProbeError, match=r"run this again with --sha256 ([0-9a-f]{64})$") as e:
            weights.fetch(unlisted, folder, local=local)
        digest = str(e.value).split()[-1]
        found = weights.fetch(unlisted, folder, local=local, sha256=digest)
        assert (found.sha256, found.source) == (digest, str(local))
        assert weights.locate(unlisted, folder).fingerprint == found.fingerprint


class Trap:
    """A pickle of it leaves a mark where it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


class TestOwnModels:
    @pytest.fixture
    def own(self, tmp_path, mace_content, monkeypatch):
        """A list of the user's own with one network, as the config key backbones names it."""

        def written(content=mace_content, **changes):
            (tmp_path / "models").mkdir(exist_ok=True)
            (tmp_path / "models/mine.model").write_bytes(content)
            keys = {
                "adapter": "mace",
                "path": "models/mine.model",
                "sha256": weights._digest(content),
                "method": "PBE0",
                "licence": "CC0",
                "citation": "my own",
            } | changes
            lines = [f"  {key}: '{value}'" for key, value in keys.items() if value is not None]
            path = tmp_path / f"own-{len(list(tmp_path.iterdir()))}.yaml"
            path.write_text("\n".join(["mine:", *lines]) + "\n")
            monkeypatch.setenv("PROBE_BACKBONES", str(path))
            return path

        return written

    def test_it_is_chosen_by_name_as_any_other(self, own, mace):
        own()
        loaded = weights.fetch(weights.entry("mine"))
        assert (loaded.source, loaded.fingerprint) == ("listed file", mace.fingerprint)
        assert weights.entry("mine").licence == "CC0"

    def test_without_a_digest_it_is_refused_and_never_read(self, own, tmp_path):
        content = pickle.dumps(Trap(tmp_path / "mark"))
        path = own(content, sha256=None)
        with pytest.raises(ProbeError) as raised:
            weights.locate(weights.entry("mine"))
        assert str(raised.value) == (
            f"{tmp_path}/models/mine.model can run code when it is read, and no digest of mine is "
            f"listed; if you trust where it came from, add the line "
            f"`sha256: {weights._digest(content)}` to mine in {path}"
        )
        assert not (tmp_path / "mark").exists()

    def test_another_file_than_the_listed_is_never_read(self, own, tmp_path):
        own()
        (tmp_path / "models/mine.model").write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
        with pytest.raises(ProbeError, match=r"mine\.model has sha256 .* not used"):
            weights.fetch(weights.entry("mine"))
        assert not (tmp_path / "mark").exists()

    def test_the_trap_would_have_closed(self, own, tmp_path):
        own(pickle.dumps(Trap(tmp_path / "mark")))
        with pytest.raises(ProbeError):
            weights.locate(weights.entry("mine"))
        assert (tmp_path / "mark").exists()

    def test_the_bytes_that_are_loaded_are_those_that_were_verified(
        self, own, mace, tmp_path, monkeypatch
    ):
        """The file is exchanged as soon as it has been read: a second reading would show."""
        own()
        real = Path.read_bytes

        def read_once(path):
            content = real(path)
            path.write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
            return content

        monkeypatch.setattr(Path, "read_bytes", read_once)
        found = weights.locate(weights.entry("mine"))
        one = adapter.backbone(weights.entry("mine"), found, torch.device("cpu"))
        assert one.evaluate([WATER]).energy == mace.evaluate([WATER]).energy
        assert not (tmp_path / "mark").exists()

    def test_a_listed_fingerprint_is_compared(self, own):
        path = own(fingerprint="0123456789abcdef")
        with pytest.raises(ProbeError, match=f"another network than mine .*; mend {path}"):
            weights.locate(weights.entry("mine"))

    def test_a_file_that_is_not_there_is_said_so(self, own, tmp_path):
        own()
        (tmp_path / "models/mine.model").unlink()
        with pytest.raises(ProbeError, match=r"mine\.model: the weights of mine are missing"):
            weights.fetch(weights.entry("mine"))

    def test_a_file_instead_of_a_name_is_told_how_to_be_listed(self, tmp_path):
        (tmp_path / "a.model").write_bytes(b"abc")
        with pytest.raises(ProbeError, match=r"a\.model is a file \(sha256 ba7816bf.*list it"):
            weights.entry(str(tmp_path / "a.model"))

"""The lists of networks: names that are shipped, and a list of the user's own."""

import pytest

from probe import weights
from probe.backbones import aimnet as adapter
from probe.errors import ProbeError

NAMES = [
    f"{family}{suffix}"
    for family in ("aimnet2-b973c", "aimnet2-wb97m-d3")
    for suffix in ("", "-1", "-2", "-3")
]


class TestNames:
    def test_all_members_of_both_families_can_be_named(self):
        found = [name for name, one in weights.entries().items() if one.adapter == "aimnet"]
        assert found == NAMES

    @pytest.mark.parametrize("name", NAMES)
    def test_a_name_says_family_and_member(self, name):
        found = weights.entry(name)
        assert found.name == name
        assert name == (f"{found.family}-{found.member}" if found.member else found.family)
        assert adapter._registered(found).endswith(f"-d3_{found.member}")

    def test_every_network_has_a_fingerprint_of_its_own(self):
        listed = [one.fingerprint for one in weights.entries().values() if one.fingerprint]
        assert len(set(listed)) == len(listed) >= len(NAMES)

    @pytest.mark.parametrize(
        ("wrong", "nearest"),
        [
            ("aimnet2-b97-3c", "aimnet2-b973c"),
            ("aimnet2-wb97m", "aimnet2-wb97m-d3"),
            ("aimnet2_b973c_1", "aimnet2-b973c-1"),
        ],
    )
    def test_a_wrong_name_is_told_the_nearest(self, wrong, nearest):
        with pytest.raises(ProbeError) as raised:
            weights.entry(wrong)
        assert str(raised.value) == f"backbone {wrong} is unknown; did you mean {nearest}?"

    def test_a_name_like_none_is_told_where_all_are(self):
        with pytest.raises(ProbeError) as raised:
            weights.entry("gfn2")
        assert str(raised.value) == "backbone gfn2 is unknown; `probe weights list` has all"


class TestOwnList:
    """The file that $PROBE_BACKBONES names has the form of resources/backbones.yaml."""

    @pytest.fixture
    def own(self, tmp_path, monkeypatch):
        def written(text):
            path = tmp_path / f"own-{len(list(tmp_path.iterdir()))}.yaml"
            path.write_text(text)
            monkeypatch.setenv("PROBE_BACKBONES", str(path))
            return path

        return written

    MINE = (
        "mine: {adapter: mace, path: sub/a.model, method: PBE0, licence: MIT, citation: me, "
        f"sha256: {'ab' * 32}" + "}\n"
    )

    def test_its_networks_come_after_the_shipped_ones(self, own, tmp_path, monkeypatch):
        monkeypatch.delenv("PROBE_BACKBONES", raising=False)
        shipped = list(weights.entries())
        path = own(self.MINE)
        assert list(weights.entries()) == [*shipped, "mine"]
        found = weights.entry("mine")
        assert (found.adapter, found.method, found.sha256) == ("mace", "PBE0", "ab" * 32)
        assert (found.path, found.listed_in) == (tmp_path / "sub/a.model", path)

    def test_members_of_an_ensemble_are_known_by_their_names(self, own):
        own("".join(self.MINE.replace("mine", f"mine{end}") for end in ("", "-1", "-2", "-x")))
        found = {name: weights.entry(name) for name in ("mine", "mine-1", "mine-2", "mine-x")}
        assert [(one.family, one.member) for one in found.values()] == [
            *(("mine", 0), ("mine", 1), ("mine", 2)),
            ("mine-x", 0),
        ]

    def test_a_shipped_name_is_not_redefined(self, own):
        path = own(self.MINE.replace("mine", "aimnet2-b973c"))
        with pytest.raises(ProbeError) as raised:
            weights.entries()
        assert str(raised.value) == (
            f"{path}: aimnet2-b973c is a shipped backbone; give yours another name"
        )

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (MINE.replace("licence: MIT, ", ""), "mine has no licence; add it"),
            (MINE.replace("mace", "schnet"), "mine: adapter must be one of aimnet, ani, mace"),
            (MINE.replace("sha256", "sha265"), "mine: key sha265 is unknown; did you mean sha256?"),
            (MINE.replace("ab", "xy"), "mine: sha256 must be 64 hexadecimal digits, in quotes"),
            (MINE.replace("path: sub/a.model, ", ""), "mine has no path; add that of the weights"),
            (MINE.replace("path:", "loader: mace_mp, path:"), "mine: path and loader exclude each"),
            ("[1, 2]", "not a list of backbones; write a name and, under it, its keys"),
            ("mine: {adapter: [", "not YAML"),
        ],
    )
    def test_what_is_wrong_is_said_in_a_line(self, own, text, said):
        path = own(text)
        with pytest.raises(ProbeError) as raised:
            weights.entries()
        assert str(raised.value).startswith(f"{path}: {said}")
        assert "\n" not in str(raised.value)

    def test_a_list_that_is_not_there(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PROBE_BACKBONES", str(tmp_path / "none.yaml"))
        with pytest.raises(ProbeError, match=r"none\.yaml: cannot read this list of backbones"):
            weights.entries()

"""A checkpoint: what is saved is what is loaded, and what its answers depend on."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from probe import schemas, tables
from probe.classifier import card as cards
from probe.classifier.checkpoint import Checkpoint, load, save_checkpoint
from probe.classifier.exceedance import exceedance
from probe.classifier.network import Normalisation, Probe, Sample
from probe.config import Library
from probe.errors import ProbeError

WIDTH = 16
"""Features an atom in these tests; only the shipped checkpoint has 256."""
SHIPPED = "aimnet2-b973c"


def sample(n_atoms, seed):
    rng = np.random.default_rng(seed)
    return Sample(
        embedding=rng.normal(size=(n_atoms, WIDTH)).astype(np.float16),
        charges=rng.normal(0, 0.3, n_atoms).astype(np.float32),
        numbers=rng.choice([1, 6, 7, 8], n_atoms).astype(np.uint8),
        energy_ev=float(rng.normal(-1000 * n_atoms, 5)),
    )


SAMPLES = [sample(size, seed) for seed, size in enumerate((5, 1, 23, 2, 12, 9))]
FILES = {cards.WEIGHTS, cards.CARD, cards.HELD_OUT}
ROW = {
    "conformer_id": "id",
    "smiles": "O",
    "n_atoms": 3,
    "numbers": [8, 1, 1],
    "latent_distance": 0.7,
    "error_kcal": -0.4,
    "p_unreliable": 0.3,
    "location_kcal": None,
    "scale_kcal": None,
}


def untrained(head="distribution", n_members=3, temperature=1.7):
    """A checkpoint of random networks: what loading and scoring do needs no training."""
    torch.manual_seed(11)
    made = {"charges": True, "head": head, "width": 16}
    members = [Probe(WIDTH, **made).eval() for _ in range(n_members)]
    for member in members:
        if member.location is not None:  # its last layer begins at zero
            torch.nn.init.normal_(member.location[-1].weight, std=0.1)
    card = {
        "format_version": cards.FORMAT_VERSION,
        "name": "untrained",
        "backbone": "aimnet2-b973c",
        "fingerprint": "7e4575c45376bb61",
        "embedding_dim": WIDTH,
        **made,
        "n_members": n_members,
        "boundary_kcal": 0.5,
        "temperature": temperature,
        "latent_99": 2.0,
        "shift": {"per_element": {"H": 0.01, "O": -0.02}, "per_charge": 0.003},
        "elements": {"H": 6, "O": 2},
        "n_atoms": {"min": 1, "max": 23},
    }
    return Checkpoint(
        card,
        Normalisation(WIDTH).fit(SAMPLES),
        members,
        torch.randn(256),
        torch.randn(256, 256).tril(),
        [ROW, ROW | {"location_kcal": [0.25, -1.5], "scale_kcal": [0.5, 2.0]}],
    )


@pytest.fixture(params=["classes", "distribution"])
def head(request):
    return request.param


@pytest.fixture
def checkpoint(head):
    return untrained(head)


@pytest.fixture
def saved(checkpoint, tmp_path):
    save_checkpoint(checkpoint, tmp_path / "saved")
    return tmp_path / "saved"


def same(one, other, atol=0.0):
    assert one.p_unreliable == pytest.approx(other.p_unreliable, abs=atol, rel=0)
    assert one.latent_distance == pytest.approx(other.latent_distance, rel=atol, abs=0)
    np.testing.assert_allclose(one.importance, other.importance, atol=atol, rtol=0)
    np.testing.assert_allclose(one.embedding, other.embedding, atol=10 * atol, rtol=0)
    for name in ("location_kcal", "scale_kcal"):
        said, again = getattr(one, name), getattr(other, name)
        assert again == (None if said is None else pytest.approx(said, rel=10 * atol, abs=atol))


class TestSavedAndLoaded:
    def test_it_gives_identical_answers(self, checkpoint, saved):
        again = load(str(saved)).score(SAMPLES)
        for one, other in zip(checkpoint.score(SAMPLES), again, strict=True):
            same(one, other)

    def test_its_card_shift_and_held_out_rows_are_the_same(self, checkpoint, saved):
        loaded = load(str(saved))
        assert loaded.card == checkpoint.card
        assert loaded.held_out == checkpoint.held_out
        assert loaded.boundary_kcal == 0.5
        assert loaded.shift.of(np.array([1, 1, 8]), 2) == pytest.approx(0.006)

    def test_saved_again_it_is_the_same_bytes(self, saved, tmp_path):
        save_checkpoint(load(str(saved)), tmp_path / "again")
        for name in FILES:
            assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()

    def test_three_files_are_all_there_is(self, saved):
        assert {path.name for path in saved.iterdir()} == FILES

    def test_the_held_out_rows_are_a_table_that_says_whose_they_are(self, saved):
        path = saved / cards.HELD_OUT
        assert tables.read(path, schemas.HELD_OUT).num_rows == 2
        origin = tables.provenance(path)
        assert (origin["checkpoint"], origin["fingerprint"]) == ("untrained", "7e4575c45376bb61")

    def test_the_networks_come_without_dropout(self, saved):
        assert not any(member.training for member in load(str(saved)).members)


class TestAnswers:
    def test_the_order_is_kept_and_each_has_its_own_atoms(self, checkpoint):
        answers = checkpoint.score(SAMPLES)
        assert [len(answer.importance) for answer in answers] == [5, 1, 23, 2, 12, 9]
        for answer in answers:
            assert answer.importance.sum() == pytest.approx(1, abs=1e-5)
            assert answer.embedding.shape == (256,)
            assert 0 < answer.p_unreliable < 1

    def test_importance_is_the_same_alone_and_in_any_batch(self, checkpoint):
        """In evaluation mode and blind to the padding, even after its networks were training."""
        for member in checkpoint.members:
            member.train()
        together = checkpoint.score(SAMPLES)
        for answer, alone in zip(together, SAMPLES, strict=True):
            for others in ([], [SAMPLES[2]], [SAMPLES[1], alone]):
                again = checkpoint.score([*others, alone])[-1].importance
                np.testing.assert_allclose(again, answer.importance, atol=1e-6)

    def test_they_do_not_depend_on_batch_or_order(self, checkpoint):
        together = checkpoint.score(SAMPLES)
        for one, other in zip(together, checkpoint.score(SAMPLES[::-1])[::-1], strict=True):
            same(one, other, 1e-5)
        for row, alone in enumerate(SAMPLES):
            same(together[row], checkpoint.score([alone])[0], 1e-5)

    def test_importance_is_the_members_mean_and_the_embedding_the_first_ones(self, checkpoint):
        inputs = checkpoint.normalisation(SAMPLES)
        with torch.inference_mode():
            outputs = [member(inputs) for member in checkpoint.members]
        for row, answer in enumerate(checkpoint.score(SAMPLES)):
            parts = [output.importance[row, : len(answer.importance)] for output in outputs]
            np.testing.assert_allclose(answer.importance, torch.stack(parts).mean(0), atol=1e-6)
            np.testing.assert_allclose(answer.embedding, outputs[0].molecule[row], atol=1e-6)

    def test_the_latent_distance_is_mahalanobis_per_root_of_the_dimension(self, checkpoint):
        precision = (checkpoint.latent_whitening @ checkpoint.latent_whitening.T).double().numpy()
        mean = checkpoint.latent_mean.double().numpy()
        for answer in checkpoint.score(SAMPLES):
            offset = answer.embedding.astype(np.float64) - mean
            by_hand = np.sqrt(offset @ precision @ offset / 256)
            assert answer.latent_distance == pytest.approx(by_hand, rel=1e-4)


def members_say(checkpoint):
    """What each network answers, [K, samples, 2]."""
    inputs = checkpoint.normalisation(SAMPLES)
    with torch.inference_mode():
        answers = [member(inputs).answer.double() for member in checkpoint.members]
    return torch.stack(answers).numpy()


class TestClasses:
    def test_p_is_of_the_members_mean_logit_after_the_temperature(self):
        checkpoint = untrained("classes")
        logits = members_say(checkpoint)
        mean = (logits[..., 1] - logits[..., 0]).mean(axis=0)
        by_hand = 1 / (1 + np.exp(-mean / 1.7))
        found = [answer.p_unreliable for answer in checkpoint.score(SAMPLES)]
        np.testing.assert_allclose(found, by_hand, atol=1e-6)

    def test_a_higher_temperature_is_nearer_to_one_half(self):
        warm, hot = (untrained("classes", temperature=t) for t in (1.0, 10.0))
        for one, other in zip(warm.score(SAMPLES), hot.score(SAMPLES), strict=True):
            assert abs(other.p_unreliable - 0.5) < abs(one.p_unreliable - 0.5)

    def test_one_boundary_is_all_they_know(self):
        for answer in untrained("classes").score(SAMPLES):
            assert (answer.location_kcal, answer.scale_kcal) == (None, None)


class TestDistribution:
    def test_location_and_scale_are_in_kcal_with_one_of_each_a_network(self):
        checkpoint = untrained("distribution")
        said = members_say(checkpoint)
        for row, answer in enumerate(checkpoint.score(SAMPLES)):
            location, log_scale = said[:, row].T
            assert answer.location_kcal == pytest.approx(0.5 * location, abs=1e-5)
            assert answer.scale_kcal == pytest.approx(0.5 * 1.7 * np.exp(log_scale), rel=1e-5)

    def test_p_is_what_they_put_beyond_the_boundary(self):
        for answer in untrained("distribution").score(SAMPLES):
            location, scale = np.array(answer.location_kcal), np.array(answer.scale_kcal)
            above = 1 / (1 + np.exp((0.5 - location) / scale))
            below = 1 / (1 + np.exp((0.5 + location) / scale))
            assert answer.p_unreliable == pytest.approx(np.mean(above + below), abs=1e-12)

    def test_any_other_tolerance_is_answered_from_the_same_two(self):
        """The boundary is one of them, and what is tolerated less is exceeded more often."""
        for answer in untrained("distribution").score(SAMPLES):
            said = (answer.location_kcal, answer.scale_kcal)
            p = [exceedance(*said, tolerance) for tolerance in (0.0, 0.25, 0.5, 1.0, 4.0)]
            assert p[2] == pytest.approx(answer.p_unreliable, abs=1e-12)
            assert p[0] == pytest.approx(1)
            assert (np.diff(p) < 0).all()

    def test_the_temperature_widens_and_does_not_move(self):
        warm, hot = (untrained("distribution", temperature=t) for t in (1.0, 3.0))
        for one, other in zip(warm.score(SAMPLES), hot.score(SAMPLES), strict=True):
            assert other.location_kcal == one.location_kcal
            assert other.scale_kcal == pytest.approx(3 * np.array(one.scale_kcal))


class TestOnADevice:
    def test_it_answers_as_before(self, checkpoint):
        moved = checkpoint.to(torch.device("cpu"))
        assert (moved.card, moved.held_out) == (checkpoint.card, checkpoint.held_out)
        for one, other in zip(checkpoint.score(SAMPLES), moved.score(SAMPLES), strict=True):
            same(one, other)

    def test_all_of_it_moves_and_the_original_stays(self, checkpoint):
        before = checkpoint.score(SAMPLES)
        moved = checkpoint.to(torch.device("meta"))
        parts = [moved.normalisation, *moved.members]
        tensors = [values for part in parts for values in part.state_dict().values()]
        tensors += [moved.latent_mean, moved.latent_whitening]
        assert {values.device.type for values in tensors} == {"meta"}
        for one, other in zip(before, checkpoint.score(SAMPLES), strict=True):
            same(one, other)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
    def test_a_gpu_gives_the_same_answers(self, checkpoint):
        moved = checkpoint.to(torch.device("cuda"))
        for one, other in zip(checkpoint.score(SAMPLES), moved.score(SAMPLES), strict=True):
            same(one, other, 1e-3)


def edited(folder, **changes):
    """Change keys of the card in ``folder``; None takes one out."""
    path = folder / cards.CARD
    card = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in card.items() if value is not None}))


def without(folder, start):
    """Take the tensors whose names begin with ``start`` out of the checkpoint."""
    path = folder / cards.WEIGHTS
    save_file({k: v for k, v in load_file(path).items() if not k.startswith(start)}, path)


def truncated(folder):
    path = folder / cards.WEIGHTS
    path.write_bytes(path.read_bytes()[:-1000])


def no_weights(folder):
    (folder / cards.WEIGHTS).unlink()


def torn(folder):
    path = folder / cards.HELD_OUT
    path.write_bytes(path.read_bytes()[:-100])


def another_head(folder):
    kept = json.loads((folder / cards.CARD).read_text())["head"]
    edited(folder, head={"classes": "distribution", "distribution": "classes"}[kept])


DAMAGES = {
    "an earlier format": (
        lambda f: edited(f, format_version=1),
        "format version 1, this probe-screen reads 3; train the checkpoint again",
    ),
    "a later format": (lambda f: edited(f, format_version=4), "format version 4, .* reads 3"),
    "no format": (lambda f: edited(f, format_version=None), "format version None"),
    "no shift": (lambda f: edited(f, shift=None), "no shift; restore"),
    "no head": (lambda f: edited(f, head=None), "no head; restore"),
    "another head": (another_head, "not the weights"),
    "no held-out rows": (lambda f: (f / cards.HELD_OUT).unlink(), "held_out.parquet: no such file"),
    "torn held-out rows": (torn, "held_out.parquet: not a readable Parquet file"),
    "no card": (lambda f: (f / cards.CARD).unlink(), "nor a folder with card.json"),
    "a card that is no JSON": (lambda f: (f / cards.CARD).write_text("{"), "not valid JSON"),
    "no tensor file": (no_weights, "not the weights that its card describes"),
    "a truncated file": (truncated, "not the weights that its card describes"),
    "another file": (lambda f: (f / cards.WEIGHTS).write_bytes(b"x" * 99), "not the weights"),
    "a member short": (lambda f: edited(f, n_members=4), "not the weights"),
    "another width": (lambda f: edited(f, embedding_dim=32), "not the weights"),
    "charges it has no tensors for": (lambda f: edited(f, charges=False), "not the weights"),
    "no tensors of a layer": (lambda f: without(f, "member1.head"), "not the weights"),
    "no latent reference": (lambda f: without(f, "latent.mean"), "not the weights"),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_damaged_is_refused_in_one_line(saved, damage, says):
    damage(saved)
    with pytest.raises(ProbeError, match=says) as raised:
        load(str(saved))
    assert "\n" not in str(raised.value)
    assert str(saved) in str(raised.value)


class TestNames:
    def test_an_unknown_one_names_the_nearest(self):
        with pytest.raises(ProbeError, match=r"aimnet2-b97c is neither .*did you mean aimnet2-b97"):
            cards.read("aimnet2-b97c")

    def test_one_like_no_other_names_all(self):
        with pytest.raises(ProbeError, match=f"shipped: .*{SHIPPED}"):
            cards.read("zzz")

    def test_a_folder_works_where_it_is(self, saved, monkeypatch):
        monkeypatch.chdir(saved.parent)
        assert cards.read("saved")["name"] == "untrained"


MINE = {"name": "mine", "backbone": "aimnet2-b973c", "fingerprint": "aa"}


class TestTheBackboneItBelongsTo:
    def test_another_one_is_refused_with_what_to_do(self):
        says = r"mine belongs to backbone aimnet2-b973c \(fingerprint aa\), not to x \(bb\); choose"
        with pytest.raises(ProbeError, match=says):
            cards.require(MINE, "bb", "x")

    def test_the_same_network_under_another_name_is_taken(self):
        cards.require(MINE, "aa", "x")

    def test_a_library_has_a_checkpoint_of_its_own_backbone(self, tmp_path):
        one, other = (
            Library(tmp_path / "a.smi", backbone, SHIPPED) for backbone in (SHIPPED, f"{SHIPPED}-1")
        )
        assert cards.folder_of("one", one) == cards.resolve(SHIPPED)
        with pytest.raises(ProbeError, match=f"^library other: .* not to {SHIPPED}-1 .*; choose"):
            cards.folder_of("other", other)

    @pytest.mark.parametrize("wrong", [{"backbone": "aimnet2-b97"}, {"checkpoint": "aimnet2-b97"}])
    def test_what_a_library_names_and_is_not_there_is_said_with_its_name(self, tmp_path, wrong):
        library = Library(**{"path": tmp_path, "backbone": SHIPPED, "checkpoint": SHIPPED} | wrong)
        with pytest.raises(ProbeError, match=r"^library mine: .*; did you mean aimnet2-b97"):
            cards.folder_of("mine", library)


def test_a_checkpoint_of_the_first_format_is_refused_before_anything_of_it_is_read(tmp_path):
    """It had two files, and a card without a head."""
    save_checkpoint(untrained(), tmp_path)
    edited(tmp_path, format_version=1, head=None)
    (tmp_path / cards.HELD_OUT).unlink()
    for read in (cards.read, load):
        with pytest.raises(ProbeError, match=r"card\.json: format version 1, .* or use the "):
            read(str(tmp_path))


def test_what_half_precision_says_the_same_is_stored_in_it(checkpoint, tmp_path):
    """A rounded value takes two bytes less and comes back bit for bit, as others do."""
    rounded = replace(checkpoint, members=[deepcopy(m).half().float() for m in checkpoint.members])
    sizes = {}
    for name, some in (("full", checkpoint), ("half", rounded)):
        save_checkpoint(some, tmp_path / name)
        for one, other in zip(some.members, load(str(tmp_path / name)).members, strict=True):
            for before, after in zip(one.parameters(), other.parameters(), strict=True):
                assert torch.equal(before, after)
        sizes[name] = (tmp_path / name / cards.WEIGHTS).stat().st_size
    values = [v for member in checkpoint.members for v in member.parameters()]
    narrowed = sum(v.numel() for v in values if not torch.equal(v, v.half().float()))
    assert narrowed > 1000
    assert abs(sizes["full"] - sizes["half"] - 2 * narrowed) < 64  # the header's own numbers

"""The classifier: its size, what its answers depend on, and the scale its inputs come to."""

import numpy as np
import pytest
import torch

from probe.classifier.network import (
    CLIP,
    LOG_SCALE,
    Normalisation,
    Probe,
    Sample,
    parameters,
    state,
)

WIDTH = 16
"""Features an atom in these tests; the published sizes are counted at 256."""


def sample(n_atoms, seed, *, charges=True):
    rng = np.random.default_rng(seed)
    return Sample(
        embedding=rng.normal(size=(n_atoms, WIDTH)).astype(np.float16),
        charges=rng.normal(0, 0.3, n_atoms).astype(np.float32) if charges else None,
        numbers=rng.choice([1, 6, 7, 8], n_atoms).astype(np.uint8),
        energy_ev=float(rng.normal(-1000 * n_atoms, 5)),
    )


@pytest.fixture(params=[True, False], ids=["charges", "no charges"])
def charges(request):
    return request.param


@pytest.fixture(params=["classes", "distribution"])
def head(request):
    return request.param


@pytest.fixture
def network(charges, head):
    """A random one in evaluation mode.

    The last layer of the location begins at zero, which would hide what it depends on.
    """
    torch.manual_seed(0)
    network = Probe(WIDTH, charges=charges, head=head).eval()
    if network.location is not None:
        torch.nn.init.normal_(network.location[-1].weight)
    return network


@pytest.fixture
def samples(charges):
    """A single atom, a pair, and three larger ones."""
    sizes = (5, 1, 23, 2, 12)
    return [sample(size, seed, charges=charges) for seed, size in enumerate(sizes)]


@pytest.fixture
def answer(samples, network):
    """What the network says of samples."""
    normalisation = Normalisation(WIDTH).fit(samples)
    with torch.inference_mode():
        yield lambda batch: network(normalisation(batch))


def same(one, other):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


class TestSize:
    def test_it_is_the_published_one_with_charges(self):
        assert parameters(Probe(256, charges=True)) == 567_458

    def test_it_is_the_published_one_without_charges(self):
        assert parameters(Probe(256, charges=False)) == 566_434


class TestAnswers:
    def test_their_shapes(self, answer, samples):
        found = answer(samples)
        assert found.answer.shape == (5, 2)
        assert found.molecule.shape == (5, 256)
        assert found.importance.shape == (5, 23)
        assert all(torch.isfinite(part).all() for part in found)

    def test_they_are_the_same_alone_and_in_a_batch(self, answer, samples):
        together = answer(samples)
        for row, one in enumerate(samples):
            alone = answer([one])
            size = len(one.numbers)
            same(alone.answer[0], together.answer[row])
            same(alone.molecule[0], together.molecule[row])
            same(alone.importance[0], together.importance[row, :size])

    def test_they_keep_the_order_of_the_batch(self, answer, samples):
        order = [3, 0, 4, 2, 1]
        shuffled = answer([samples[index] for index in order])
        same(shuffled.answer, answer(samples).answer[order])
        same(shuffled.importance, answer(samples).importance[order])

    def test_they_do_not_depend_on_the_order_of_the_atoms(self, answer, samples):
        one = samples[2]
        order = np.random.default_rng(3).permutation(len(one.numbers))
        moved = Sample(
            one.embedding[order],
            None if one.charges is None else one.charges[order],
            one.numbers[order],
            one.energy_ev,
        )
        same(answer([moved]).answer, answer([one]).answer)
        same(answer([moved]).importance[0], answer([one]).importance[0, order])

    def test_they_differ_between_conformers(self, answer, samples):
        logits = answer(samples).answer
        assert len(torch.unique(logits, dim=0)) == len(samples)

    def test_whatever_lies_in_the_padding_does_not_matter(self, samples, charges, network):
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        absent = inputs.padding
        noisy = inputs._replace(
            embedding=inputs.embedding.masked_fill(absent.unsqueeze(-1), 1e3),
            charges=inputs.charges.masked_fill(absent, -1e3) if charges else None,
        )
        with torch.inference_mode():
            clean, changed = network(inputs), network(noisy)
        for name in ("answer", "molecule", "siblings", "importance"):
            same(getattr(clean, name), getattr(changed, name))
        same(*(found.attention.transpose(1, 2)[~absent] for found in (clean, changed)))

    def test_they_are_the_same_with_gradients_on(self, answer, samples, network):
        slow = network(Normalisation(WIDTH).fit(samples)(samples))
        for fast, other in zip(answer(samples), slow, strict=True):
            same(fast, other.detach())

    def test_energy_and_size_are_among_what_decides(self, samples, network):
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        before = network(inputs).answer
        for name in ("energy", "n_atoms"):
            changed = inputs._replace(**{name: getattr(inputs, name) + 1})
            assert (network(changed).answer - before).abs().amax(dim=1).min() > 1e-5

    def test_charges_are_among_what_decides_where_there_are_any(self, samples, charges, network):
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        if charges:
            changed = inputs._replace(charges=inputs.charges + 1)
            moved = (network(changed).answer - network(inputs).answer).abs()
            assert (moved.amin(dim=1) > 1e-5).all()  # both parts of every answer
        else:
            assert inputs.charges is None

    def test_a_network_with_charges_refuses_a_backbone_without(self, head):
        inputs = Normalisation(WIDTH)([sample(3, 0, charges=False)])
        with pytest.raises(ValueError, match="built for a backbone with charges"):
            Probe(WIDTH, charges=True, head=head)(inputs)

    def test_dropout_is_active_in_training_only(self, samples, network):
        network.train()
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        assert (network(inputs).answer != network(inputs).answer).all()
        network.eval()
        assert torch.equal(network(inputs).answer, network(inputs).answer)


class TestDistribution:
    """Of the signed error: where it lies, and the logarithm of how wide it is."""

    @pytest.fixture
    def head(self):
        return "distribution"

    def test_the_location_is_a_sum_over_atoms(self, samples, network):
        """Of what each atom adds once attention has mixed them; the padding adds nothing."""
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        added = []
        network.location[-1].register_forward_hook(lambda *call: added.append(call[-1][..., 0]))
        location = network(inputs).answer[:, 0]
        for row, one in enumerate(samples):
            same(location[row], added[0][row, : len(one.numbers)].sum())
        assert added[0][1, 1:].abs().min() > 0  # the padding would have

    def test_it_may_be_of_either_sign(self, samples, network):
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        before = network(inputs).answer[:, 0].detach()
        network.location[-1].weight.data.neg_()
        assert before.abs().min() > 0
        assert torch.equal(network(inputs).answer[:, 0], -before)

    def test_siblings_are_read_from_the_same_layers(self, samples, charges):
        """A sibling with the weights of the network's own readout says what the network says."""
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        network = Probe(WIDTH, charges=charges, head="distribution", siblings=2).eval()
        torch.nn.init.normal_(network.location[-1].weight)
        where, scale = network.siblings
        where.weight.data[1] = network.location[-1].weight.data[0]
        scale.weight.data[1] = network.head[-1].weight.data[0]
        scale.bias.data[1] = network.head[-1].bias.data[0]
        outputs = network(inputs)
        assert outputs.siblings.shape == (len(samples), 2, 2)
        same(outputs.siblings[:, 1], outputs.answer)
        assert (outputs.siblings[:, 0] != outputs.answer).any()

    def test_without_siblings_it_answers_the_same(self, samples, charges):
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        network = Probe(WIDTH, charges=charges, head="distribution", siblings=3).eval()
        torch.nn.init.normal_(network.location[-1].weight)
        before = network(inputs).answer
        plain = Probe(WIDTH, charges=charges, head="distribution").eval()
        plain.load_state_dict(network.without_siblings().state_dict())
        outputs = plain(inputs)
        assert torch.equal(outputs.answer, before)
        assert outputs.siblings.shape == (len(samples), 0, 2)

    def test_it_begins_at_zero_and_can_leave_it(self, samples, charges):
        network = Probe(WIDTH, charges=charges, head="distribution")
        location = network(Normalisation(WIDTH).fit(samples)(samples)).answer[:, 0]
        assert location.tolist() == [0.0] * len(samples)
        location.sum().backward()
        assert network.location[-1].weight.grad.abs().max() > 0

    def test_the_scale_is_bounded_on_either_side(self, samples, network):
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        for bias, bound in zip((-1e3, 1e3), LOG_SCALE, strict=True):
            torch.nn.init.constant_(network.head[-1].bias, bias)
            assert network(inputs).answer[:, 1].tolist() == [bound] * len(samples)

    def test_location_and_scale_are_of_different_parts_of_the_network(self, samples, network):
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        before = network(inputs).answer
        torch.nn.init.zeros_(network.location[-1].weight)
        after = network(inputs).answer
        assert torch.equal(after[:, 1], before[:, 1])
        assert not torch.equal(after[:, 0], before[:, 0])


class TestImportance:
    def test_it_sums_to_one_over_the_atoms(self, answer, samples):
        same(answer(samples).importance.sum(dim=1), torch.ones(len(samples)))

    def test_padding_has_none(self, answer, samples):
        importance = answer(samples).importance
        for row, one in enumerate(samples):
            size = len(one.numbers)
            assert (importance[row, :size] > 0).all()
            assert (importance[row, size:] == 0).all()

    def test_a_single_atom_has_it_all(self, answer, samples):
        assert answer([samples[1]]).importance.tolist() == [[1.0]]

    def test_it_is_the_attention_received_from_the_real_atoms(self, samples, charges, network):
        """Against the attention of one conformer without any padding, averaged over heads."""
        inputs = Normalisation(WIDTH).fit(samples)([samples[4]])
        atoms = network.atoms(inputs.embedding)
        if charges:
            atoms = atoms + network.charges(inputs.charges.unsqueeze(-1))
        query, key, _ = (
            torch.nn.functional.linear(
                atoms, network.attention.in_proj_weight, network.attention.in_proj_bias
            )
            .view(1, 12, 3, 32, 8)
            .permute(2, 0, 3, 1, 4)
        )
        weights = torch.softmax(query @ key.transpose(-1, -2) / 8**0.5, dim=-1)
        received = weights.sum(dim=(1, 2))
        same(network(inputs).importance, received / received.sum())


class TestNormalisation:
    @pytest.fixture
    def fitted(self):
        """Two conformers: H2 at -2 eV and O at -75 eV, so H is -1 and O is -75."""
        return Normalisation(2).fit(
            [
                Sample(
                    np.array([[0, 1], [2, 1]], np.float16),
                    np.array([0.5, -0.5], np.float32),
                    np.array([1, 1], np.uint8),
                    -2.0,
                ),
                Sample(
                    np.array([[4, 1]], np.float16),
                    np.array([0.0], np.float32),
                    np.array([8], np.uint8),
                    -75.0,
                ),
            ]
        )

    def one(self, numbers, energy, embedding=(2.0, 1.0), charge=0.0):
        n = len(numbers)
        return Sample(
            np.tile(np.array(embedding, np.float16), (n, 1)),
            np.full(n, charge, np.float32),
            np.array(numbers, np.uint8),
            energy,
        )

    def test_embeddings_are_centred_and_scaled_by_feature(self, fitted):
        inputs = fitted([self.one([1], -1.0, embedding=(5.0, 3.0))])
        spread = (8 / 3) ** 0.5  # of 0, 2 and 4
        assert inputs.embedding[0, 0].tolist() == pytest.approx([3 / spread, 2.0])  # 1 is constant

    def test_charges_are_scaled_and_keep_their_sign(self, fitted):
        inputs = fitted([self.one([1], -1.0, charge=-0.3)])
        assert inputs.charges.item() == pytest.approx(-0.3 / (0.5 / 3) ** 0.5)

    def test_sizes_are_centred_and_scaled(self, fitted):
        inputs = fitted([self.one([1, 1, 1], -3.0)])
        assert inputs.n_atoms.item() == pytest.approx((3 - 1.5) / 0.5)

    def test_an_energy_that_is_all_composition_becomes_zero(self, fitted):
        batch = [self.one([1, 1], -2.0), self.one([8], -75.0), self.one([1, 8, 1], -77.0)]
        assert fitted(batch).energy.tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)

    def test_what_is_left_of_the_energy_is_scaled(self):
        fitted = Normalisation(2).fit(
            [self.one([1], -1.0), self.one([1], -5.0)]  # -3 on average, 2 apart from it
        )
        assert fitted([self.one([1], -4.0)]).energy.item() == pytest.approx(-0.5)

    def test_the_composition_part_is_exact_at_the_scale_of_total_energies(self):
        """A total of -3e5 eV keeps its milli-electronvolts: the difference is in float64."""
        energies = (-3.0e5, -3.0e5 + 0.004)
        fitted = Normalisation(2).fit([self.one([53], energy) for energy in energies])
        assert fitted([self.one([53], energies[1])]).energy.item() == pytest.approx(1.0, rel=1e-4)

    def test_scalars_far_out_are_clipped(self, fitted):
        inputs = fitted([self.one([1] * 100, -1e4), self.one([8], 1e4)])
        assert inputs.energy.tolist() == [-CLIP, CLIP]
        assert inputs.n_atoms.tolist() == [CLIP, pytest.approx(-1.0)]

    def test_an_element_that_was_not_fitted_does_not_break_it(self, fitted):
        assert fitted([self.one([118], -5e4)]).energy.item() == -CLIP

    def test_rounding_is_not_a_spread(self):
        same_twice = [self.one([1], -1.0), self.one([1], -1.0 - 1e-12)]
        inputs = Normalisation(2).fit(same_twice)(same_twice)
        assert inputs.energy.tolist() == pytest.approx([0.0, 0.0], abs=1e-9)
        assert inputs.n_atoms.tolist() == [0.0, 0.0]

    def test_before_it_is_fitted_everything_stays_as_it_is(self):
        """As the published recipe has it: no part is standardised, and nothing is clipped."""
        one = self.one([1, 8] * 60, -3.21e5, embedding=(-7.0, 0.5), charge=-0.3)
        inputs = Normalisation(2)([one])
        assert inputs.embedding[0].tolist() == one.embedding.tolist()
        assert inputs.charges[0].tolist() == one.charges.tolist()
        assert inputs.energy.tolist() == [-3.21e5]
        assert inputs.n_atoms.tolist() == [120.0]

    def test_once_fitted_what_it_was_fitted_to_is_standard(self):
        samples = [sample(size, seed) for seed, size in enumerate(range(3, 40))]
        inputs = Normalisation(WIDTH).fit(samples)(samples)
        atoms = inputs.embedding[~inputs.padding]
        same(atoms.mean(dim=0), torch.zeros(WIDTH))
        same(atoms.std(dim=0, correction=0), torch.ones(WIDTH))
        for values in (inputs.n_atoms, inputs.energy, inputs.charges[~inputs.padding]):
            assert values.std(correction=0).item() == pytest.approx(1, abs=1e-2)
        assert inputs.n_atoms.mean().item() == pytest.approx(0, abs=1e-5)

    def test_samples_are_not_changed(self, fitted):
        one = self.one([1, 8], -76.0)
        before = (one.embedding.copy(), one.charges.copy(), one.numbers.copy())
        fitted([one, one])
        assert all(
            np.array_equal(*pair)
            for pair in zip(before, (one.embedding, one.charges, one.numbers), strict=True)
        )

    def test_padding_is_where_there_is_no_atom(self, fitted):
        inputs = fitted([self.one([1, 1, 8], -77.0), self.one([8], -75.0)])
        assert inputs.padding.tolist() == [[False] * 3, [False, True, True]]

    def test_it_is_restored_with_the_checkpoint(self, fitted):
        restored = Normalisation(2)
        restored.load_state_dict(fitted.state_dict())
        batch = [self.one([1, 8], -70.0)]
        assert restored(batch).energy.item() == fitted(batch).energy.item() != 0.0
        far = [self.one([118], -5e4)]
        assert restored(far).energy.item() == -CLIP

    def test_so_is_one_that_was_not_fitted(self, fitted):
        fitted.load_state_dict(Normalisation(2).state_dict())
        assert fitted([self.one([118], -5e4)]).energy.item() == -5e4


def test_the_state_of_modules_has_their_names_and_no_other():
    named = state({"scale": Normalisation(2), "member0": Probe(2, charges=False)})
    assert {name.split(".")[0] for name in named} == {"scale", "member0"}
    assert named["scale.composition"].dtype == torch.float64

"""Losses, against hand-computed ones."""

import numpy as np
import pytest
import torch
from learnable import WIDTH, padded

from probe.classifier.exceedance import TOLERANCES
from probe.classifier.losses import classes_loss, distribution_loss, learnt
from probe.classifier.network import Probe
from probe.classifier.training import LARGEST_ERROR


class TestLosses:
    def test_of_classes_it_is_cross_entropy_over_the_root_of_the_atoms(self):
        logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
        error = torch.tensor([-1.2, 7.0, 0.4, 1.0])  # what is at the boundary is reliable
        entropy = np.log(1 + np.exp([-1.0, 2.0, 0.0, 3.0]))
        by_hand = np.mean(entropy / np.sqrt([4, 1, 9, 2]))
        found = classes_loss(logits, error, padded([4, 1, 9, 2]))
        assert float(found) == pytest.approx(by_hand, rel=1e-6)

    def test_of_a_distribution_it_is_its_likelihood_and_the_entropy_of_each_tolerance(self):
        location, log_scale = np.array([0.5, -2.0]), np.array([0.0, -1.0])
        scale, error = np.exp(log_scale), np.array([-1.0, -1.5])
        z = (error - location) / scale
        likelihood = np.log(scale) + z + 2 * np.log1p(np.exp(-z))
        entropy = 0.0
        for t in TOLERANCES:
            inside = 1 / (1 + np.exp(-(t - location) / scale)) - 1 / (
                1 + np.exp((t + location) / scale)
            )
            entropy = entropy - np.log(np.where(np.abs(error) > t, 1 - inside, inside))
        answers = torch.tensor(np.stack([location, log_scale], axis=1)).float()
        found = distribution_loss(answers, torch.tensor(error).float(), padded([4, 1]))
        assert float(found) == pytest.approx(np.mean(likelihood + entropy / 3), rel=1e-5)

    def test_of_a_distribution_it_is_least_for_the_distribution_itself(self):
        rng = np.random.default_rng(0)
        error = torch.from_numpy(rng.logistic(0.3, 0.5, 20_000)).float()
        sizes = padded([1] * len(error))

        def loss(location, scale):
            answers = torch.tensor([[location, np.log(scale)]]).float().expand(len(error), 2)
            return float(distribution_loss(answers, error, sizes))

        others = [(0.2, 0.5), (0.4, 0.5), (0.3, 0.4), (0.3, 0.6), (-0.3, 0.5)]
        assert all(loss(0.3, 0.5) < loss(*other) for other in others)

    def test_the_surest_of_wrong_answers_has_a_finite_loss_and_slope(self):
        answers = torch.tensor([[LARGEST_ERROR, -5.0], [0.0, 4.0]], requires_grad=True)
        loss = distribution_loss(answers, torch.tensor([-LARGEST_ERROR, 0.0]), padded([3, 3]))
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(answers.grad).all()
        assert answers.grad[0].abs().min() > 0

    def test_siblings_count_twice_all_together(self):
        torch.manual_seed(1)
        inputs = padded([4, 1, 9])
        network = Probe(WIDTH, charges=True, head="distribution", siblings=2).eval()
        torch.nn.init.normal_(network.siblings[0].weight)
        with torch.no_grad():
            outputs = network(inputs)
        error, siblings = torch.tensor([0.5, -1.0, 2.0]), torch.randn(3, 2)
        own = distribution_loss(outputs.answer, error, inputs)
        theirs = [
            distribution_loss(outputs.siblings[:, i], siblings[:, i], inputs) for i in range(2)
        ]
        found = learnt(outputs, error, siblings, inputs, "distribution")
        assert found == pytest.approx((own + sum(theirs)).item())
        assert theirs[0] != theirs[1]
        assert learnt(outputs, error, None, inputs, "distribution") == own

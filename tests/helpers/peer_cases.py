"""Conformers to fit peers to, and the contract that every peer keeps."""

import numpy as np
import pytest

from probe.classifier.network import Sample
from probe.comparison.peers import Part


def sample(*atoms, numbers=None):
    atoms = np.array(atoms, dtype=np.float32)
    return Sample(atoms, None, np.full(len(atoms), 6) if numbers is None else np.array(numbers), 0)


def part(samples, errors=None, members=None, smiles=None):
    errors = np.zeros(len(samples)) if errors is None else np.array(errors, dtype=float)
    smiles = [f"m{index}" for index in range(len(samples))] if smiles is None else smiles
    return Part(samples, np.array(smiles), errors, None if members is None else np.array(members))


def made_up(n, seed, width=6):
    """Conformers whose errors grow with the mean of the first feature."""
    random = np.random.default_rng(seed)
    samples, errors = [], []
    for _ in range(n):
        size = int(random.integers(2, 7))
        atoms = random.normal(size=(size, width)) + random.normal(size=width)
        samples.append(sample(*atoms, numbers=random.choice([1, 6, 8], size)))
        errors.append(random.normal() * np.exp(atoms[:, 0].mean()))
    smiles = [f"m{index // 2}" for index in range(n)]
    return part(samples, errors, random.normal(size=(n, 4)), smiles)


class Contract:
    """Of ``peer``, fitted to ``parts``: 80 to fit to, 40 to tune by and 30 to ask about."""

    TOLERANCES = (0.5, 1.5)

    def test_a_score_for_each_conformer_and_tolerance(self, peer, parts):
        fit, tune, test = parts
        score = peer.fit(fit, tune, self.TOLERANCES, 1)(test)
        assert score.shape == (30, 2)
        assert np.isfinite(score).all()

    def test_it_does_not_look_at_the_errors_that_it_is_asked_about(self, peer, parts):
        fit, tune, test = parts
        blind = part(test.samples, None, test.members_ev, test.smiles)
        scorer = peer.fit(fit, tune, self.TOLERANCES, 1)
        assert np.array_equal(scorer(test), scorer(blind))

    def test_an_answer_does_not_depend_on_the_company(self, peer, parts):
        fit, tune, test = parts
        scorer = peer.fit(fit, tune, self.TOLERANCES, 1)
        alone = scorer(test.take(np.array([7])))
        assert alone == pytest.approx(scorer(test)[[7]], rel=1e-4, abs=1e-4)

    def test_a_seed_gives_one_answer(self, peer, parts):
        fit, tune, test = parts
        one, same = (peer.fit(fit, tune, self.TOLERANCES, 4)(test) for _ in range(2))
        assert np.array_equal(one, same)

    def test_a_tolerance_that_nothing_exceeds_is_no_failure(self, peer, parts):
        fit, tune, test = parts
        assert np.isfinite(peer.fit(fit, tune, (1e6,), 1)(test)).all()

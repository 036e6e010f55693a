"""Every peer on a case worked out by hand, and the contract that all of them keep."""

import numpy as np
import pytest
from peer_cases import Contract, made_up, part, sample
from scipy.special import expit, logit
from scipy.stats import norm

from probe.classifier import metrics
from probe.classifier.calibration import Labelled
from probe.comparison.peers import PEERS, NotApplicable, Part, linear, process, tuning
from probe.comparison.peers import pooled as trees
from probe.comparison.peers.distance import Mahalanobis, Nearest
from probe.comparison.peers.features import Scale, composition, pooled, sums
from probe.comparison.peers.pooled import Boosting, Forest, PooledLogistic
from probe.comparison.peers.simple import AtomCount, ElementCount, Majority
from probe.comparison.peers.spread import Spread, SpreadRule

BY_NAME = {peer.name: peer for peer in PEERS}


@pytest.fixture(scope="module")
def parts():
    return made_up(80, 1), made_up(40, 2), made_up(30, 3)


@pytest.fixture
def few_trees(monkeypatch):
    monkeypatch.setattr("probe.comparison.peers.pooled.TREES", 20)
    monkeypatch.setattr("probe.comparison.peers.pooled.ROUNDS", 30)


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize("peer", [p for p in PEERS if not p.dear], ids=lambda p: p.name)
class TestEveryCheapPeer(Contract):
    """On made-up errors."""


class TestRegistry:
    def test_a_name_is_one_peer(self):
        assert len(BY_NAME) == len(PEERS)


class TestPart:
    def test_an_error_at_the_tolerance_is_within_it(self):
        some = part([sample([0.0])] * 4, [-2.0, -1.0, 1.0, 1.5])
        assert some.exceeds(1.0).tolist() == [True, False, False, True]

    def test_taking_rows_takes_all_that_belongs_to_them(self):
        some = part([sample([float(i)]) for i in range(3)], [1, 2, 3], [[1], [2], [3]])
        taken = some.take(np.array([2, 0]))
        assert [s.embedding[0, 0] for s in taken.samples] == [2, 0]
        assert (taken.error_kcal.tolist(), taken.members_ev.tolist()) == ([3, 1], [[3], [1]])
        assert taken.smiles.tolist() == ["m2", "m0"]


class TestFeatures:
    def test_pooling(self):
        row = pooled(part([sample([1.0, 5.0], [3.0, 5.0])]))[0]
        assert row.tolist() == [2.0, 5.0, 3.0, 5.0, 1.0, 0.0, 2.0]  # mean, max, deviation, atoms

    def test_sums_and_composition(self):
        some = part([sample([1.0, 5.0], [3.0, 5.0], numbers=[8, 1])])
        assert sums(some).tolist() == [[4.0, 10.0]]
        assert composition(some)[0].nonzero()[0].tolist() == [1, 8]

    def test_a_constant_feature_is_only_centred(self):
        scale = Scale.of(np.array([[1.0, 7.0], [3.0, 7.0]]))
        assert scale(np.array([[3.0, 8.0]])).tolist() == [[1.0, 1.0]]


class TestTuning:
    def test_log_loss_by_hand(self):
        loss = tuning.log_loss(np.array([0.8, 0.4]), np.array([True, False]))
        assert loss == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)

    def test_a_sure_mistake_has_a_finite_loss(self):
        loss = tuning.log_loss(np.array([0.0]), np.array([True]))
        assert loss == pytest.approx(-np.log(tuning.CERTAIN))

    def test_ranking_is_the_mean_over_tolerances(self):
        some = part([sample([0.0])] * 3, [0.0, 1.0, 3.0])
        score = np.array([1.0, 3.0, 2.0])
        # beyond 0.5: 1 and 3, both ranked above; beyond 2: 3 alone, above one of two
        assert tuning.ranking(score, some, (0.5, 2.0)) == (1.0 + 0.5) / 2
        assert tuning.ranking(score, some, (5.0,)) == 0.5


class TestSimple:
    def test_majority_says_how_frequent_the_unreliable_are(self):
        fit = part([sample([0.0])] * 4, [0.0, 0.0, 0.0, 2.0])
        score = Majority().fit(fit, fit, (1.0, 3.0), 1)(part([sample([1.0])] * 2))
        assert expit(score) == pytest.approx(np.array([[0.25, tuning.CERTAIN]] * 2))

    def test_atom_count_knows_only_the_size(self):
        some = part([sample(*[[0.0]] * n) for n in (1, 3, 2)])
        assert AtomCount().fit(some, some, (1.0,), 1)(some)[:, 0] == pytest.approx(
            np.log([1, 3, 2])
        )

    def test_element_count_finds_the_element_that_is_to_blame(self):
        """Half of the molecules have iodine, and these are unreliable; size says nothing."""
        samples = [sample([0.0], [0.0], numbers=[6, 53 if i % 2 else 17]) for i in range(40)]
        fit = part(samples, [2.0 * (i % 2) for i in range(40)])
        score = ElementCount().fit(fit, fit, (1.0,), 1)(fit)[:, 0]
        # standardised counts are ±1 in two columns, so the odds are symmetric about even
        assert score[1] == pytest.approx(-score[0])
        assert score[1] > 1


class TestPooled:
    @pytest.mark.parametrize("peer", [PooledLogistic(), Boosting(), Forest()], ids=lambda p: p.name)
    @pytest.mark.usefixtures("few_trees")
    def test_a_feature_that_tells_all_is_found(self, peer):
        random = np.random.default_rng(0)
        values = random.uniform(-1, 1, 120)
        samples = [sample([value, 0.3], [value, 0.1]) for value in values]
        some = part(samples, np.where(values > 0.2, 3.0, 0.1))
        rows = np.arange(120)
        fit, tune, test = (some.take(rows[start::3]) for start in range(3))
        score = peer.fit(fit, tune, (1.0,), 1)(test)[:, 0]
        assert tuning.ranking(score, test, (1.0,)) > 0.93

    def test_a_stage_of_boosting_is_a_shorter_boosting(self, monkeypatch, parts):
        """Tuning the number of trees is the same as fitting with that number."""
        values, truth = pooled(parts[0]), parts[0].exceeds(1.0)
        monkeypatch.setattr(trees, "ROUNDS", 30)
        stage = trees._Stage(trees._boosted(values, truth, 4, 1), 15)(values)
        monkeypatch.setattr(trees, "ROUNDS", 15)
        shorter = trees._boosted(values, truth, 4, 1).predict_proba(values)[:, 1]
        assert stage == pytest.approx(shorter)


class TestSpread:
    MEMBERS = ((0.0, 0.0, 2.0, 2.0), (1.0, 1.0, 1.0, 5.0), (3.0, 3.0, 3.0, 3.0))
    """Deviations 1, sqrt 3 and none."""

    @pytest.fixture
    def some(self):
        return part([sample(*[[0.0]] * n) for n in (1, 4, 9)], None, self.MEMBERS)

    @pytest.mark.parametrize(("power", "of_second"), [(0.0, 1.0), (0.5, 2.0), (1.0, 4.0)])
    def test_deviation_by_a_power_of_the_atoms(self, some, power, of_second):
        score = Spread("spread", power).fit(some, some, (1.0,), 1)(some)[:, 0]
        assert np.exp(score[:2]) == pytest.approx([1.0, np.sqrt(3) / of_second])

    def test_members_that_agree_have_the_least_score(self, some):
        score = Spread("spread", 0.0).fit(some, some, (1.0,), 1)(some)[:, 0]
        assert np.argmin(score) == 2
        assert np.isfinite(score).all()

    def test_the_rule_splits_at_the_median_of_what_was_fitted(self, some):
        rule = SpreadRule().fit(some, some, (1.0, 2.0), 1)
        assert rule(some).tolist() == [[0, 0], [1, 1], [0, 0]]
        assert rule(some.take(np.array([1])))[0, 0] == 1  # not a median of its own

    @pytest.mark.parametrize("peer", [Spread("spread", 0.0), SpreadRule()])
    def test_without_the_other_members_it_says_so(self, peer):
        some = part([sample([0.0])])
        with pytest.raises(NotApplicable, match="other members"):
            peer.fit(some, some, (1.0,), 1)


class TestDistance:
    ATOMS = (-1.0, 1.0)  # mean 0, deviation 1: already standardised

    @pytest.fixture
    def fit(self):
        return part([sample([value]) for value in self.ATOMS], [0.0, 0.0])

    @pytest.mark.parametrize(("aggregate", "expected"), [("max", 2.0), ("mean", 1.5)])
    def test_nearest(self, fit, aggregate, expected):
        scorer = Nearest("nearest", aggregate).fit(fit, fit, (1.0,), 1)
        score = scorer(part([sample([3.0], [0.0]), sample([1.0])]))
        assert np.exp(score[:, 0]) == pytest.approx([expected, 0.0], abs=1e-5)

    def test_the_neighbour_that_counts_is_tuned(self):
        """Of two near ones and four lone ones: what is far from five is unreliable."""
        fit = part([sample([x]) for x in (0.0, 10.0, 10.1, 10.2, 10.3, 10.4)])
        tune = part([sample([0.01]), sample([10.25])], [5.0, 0.0])
        score = Nearest("nearest", "max").fit(fit, tune, (1.0,), 1)(tune)[:, 0]
        assert score[0] > score[1]

    def test_of_many_atoms_a_sample_is_searched(self, monkeypatch):
        monkeypatch.setattr("probe.comparison.peers.distance.MOST_ATOMS", 2)
        fit = part([sample(*[[float(x)] for x in range(10)])])
        far = np.exp(Nearest("nearest", "max").fit(fit, fit, (1.0,), 1)(fit))
        assert far[0, 0] > 0.9 / np.std(np.arange(10))

    @pytest.mark.parametrize(("aggregate", "expected"), [("max", 3.0), ("mean", 2.0)])
    def test_mahalanobis(self, aggregate, expected):
        """Independent features of mean 0 and deviation 1, exactly: a distance in plain units."""
        corners = [sample([x, y]) for x in (-1.0, 1.0) for y in (-1.0, 1.0)]
        fit = part(corners)
        scorer = Mahalanobis("mahalanobis", aggregate).fit(fit, fit, (1.0,), 1)
        score = scorer(part([sample([3.0, 0.0], [0.0, 1.0])]))
        assert np.exp(score[0, 0]) == pytest.approx(expected, rel=1e-5)


class TestRigidity:
    def test_the_variance_by_hand(self):
        gram = np.diag([4.0, 1.0])
        variance = linear.rigidity_variance(gram, 1.0, np.array([[2.0, 0.0], [1.0, 2.0]]))
        assert variance == pytest.approx([4 / 5, 1 / 5 + 4 / 2])

    def test_a_direction_that_was_not_fitted_is_less_reliable(self):
        fit = part([sample([x, 0.01]) for x in (-1.0, 1.0, 2.0)], [0.0, 1.0, 2.0])
        score = linear.Rigidity().fit(fit, fit, (0.5,), 1)(
            part([sample([1.0, 0.0]), sample([0.0, 1.0])])
        )[:, 0]
        assert score[1] > score[0]

    def test_it_is_the_atoms_together_that_count(self):
        fit = part([sample([1.0]), sample([2.0])], [0.0, 1.0])
        scorer = linear.Rigidity().fit(fit, fit, (0.5,), 1)
        two, one = scorer(part([sample([1.0], [2.0]), sample([3.0])]))[:, 0]
        assert two == pytest.approx(one)
        half = scorer(part([sample([1.5])]))[0, 0]
        assert np.exp(two - half) == pytest.approx(2.0, rel=1e-3)


class TestShallowEnsemble:
    def test_a_readout_by_hand(self):
        """Two conformers, one feature: (1 * 1 * 2 + 2 * 2 * 1) / (1 * 1 + 2 * 4 + ridge)."""
        features, target = np.array([[1.0], [2.0]]), np.array([2.0, 1.0])
        readout = linear.ridge_readout(features, target, 0.0, np.array([1.0, 2.0]))
        assert readout == pytest.approx([(2 + 4) / 9])
        damped = linear.ridge_readout(features, target, 1.0, np.array([1.0, 2.0]))
        assert damped == pytest.approx([6 / 18])  # the ridge is in units of the Gram matrix

    def test_heads_that_saw_the_same_agree(self):
        """Errors that are exactly linear: whatever is drawn, the readout is the same."""
        fit = part([sample([x, 0.0]) for x in (-2.0, -1.0, 1.0, 2.0)], [-2.0, -1.0, 1.0, 2.0])
        noisy = part(fit.samples, [2.0, -1.0, -3.0, 2.0])
        point = part([sample([5.0, 0.0])])
        exact, spread = (
            linear.ShallowEnsemble().fit(some, some, (0.5,), 1)(point)[0, 0]
            for some in (fit, noisy)
        )
        assert exact < spread

    def test_conformers_of_a_molecule_are_drawn_together(self):
        random = np.random.default_rng(0)
        weights = linear._molecule_weights(np.array(["a", "b", "a"]), random)
        assert np.array_equal(weights[:, 0], weights[:, 2])
        assert (weights[:, 0] + weights[:, 1] == 2).all()


class TestConformal:
    @pytest.mark.parametrize(
        ("level", "quantile"),
        [(0.5, 5.0), (0.8, 8.0), (0.9, 9.0), (0.99, 9.0)],
    )
    def test_the_quantile_by_hand(self, level, quantile):
        """Nine scores: of ten equally likely places the new one takes the last."""
        scores = np.random.default_rng(0).permutation(np.arange(1.0, 10.0))
        assert linear.conformal_quantile(scores, level) == quantile

    def test_the_interval_covers_what_it_says(self):
        random = np.random.default_rng(0)
        scores = random.exponential(size=(2000, 40))
        covered = [new <= linear.conformal_quantile(known, 0.9) for *known, new in scores]
        assert np.mean(covered) == pytest.approx(36 / 40, abs=0.02)

    def test_the_half_width_holds_the_level_of_the_errors(self):
        """Errors of one size everywhere: the width is their quantile among the held-out half."""
        samples = [sample([0.0, 0.0])] * 60
        random = np.random.default_rng(1)
        some = part(samples, random.normal(size=60))
        held = linear._halves(some, 3)[1]
        width = np.exp(linear.Conformal().fit(some, some, (1.0,), 3)(some)[:, 0])
        assert width == pytest.approx(
            linear.conformal_quantile(np.abs(held.error_kcal), 0.9), rel=1e-6
        )

    def test_larger_errors_get_a_wider_interval(self):
        random = np.random.default_rng(0)
        sizes = random.uniform(0, 2, 200)
        some = part([sample([x, 0.0]) for x in sizes], random.normal(size=200) * np.exp(sizes))
        score = linear.Conformal().fit(some, some, (1.0,), 1)(
            part([sample([0.1, 0.0]), sample([1.9, 0.0])])
        )[:, 0]
        assert 0.5 < (score[1] - score[0]) / 1.8 < 1.5


class TestProcess:
    def test_the_kernel_by_hand(self):
        """Pairs of one element only; D = 1, so the exponent is the squared distance by 2 l²."""
        scale = Scale(np.zeros(1, np.float32), np.ones(1, np.float32))
        one = sample([0.0], [1.0], [5.0], numbers=[6, 6, 1])
        other = sample([1.0], [9.0], numbers=[6, 8])
        values = process.kernel([one], [other, one], scale, [1.0, 0.5])
        near = {length: np.exp(-1 / (2 * length**2)) for length in (1.0, 0.5)}
        for row, length in zip(values, (1.0, 0.5), strict=True):
            assert row[0] == pytest.approx([near[length] + 1, 3 + 2 * near[length]])

    def test_the_kernel_does_not_depend_on_how_it_is_cut(self, parts, monkeypatch):
        samples = parts[0].samples
        scale = Scale.of(np.concatenate([s.embedding for s in samples]))
        whole = process.kernel(samples, samples[:7], scale, [1.0])
        monkeypatch.setattr(process, "CHUNK", 5)
        assert process.kernel(samples, samples[:7], scale, [1.0]) == pytest.approx(whole, rel=1e-5)

    def test_the_posterior_of_one_error_by_hand(self):
        """Two fitted conformers that do not resemble each other, and a new one like the first."""
        posterior = process.Posterior.fit(np.eye(2), np.array([3.0, -1.0]))
        noise, offset = posterior.noise, 1.0
        mean, deviation = posterior(np.array([[1.0, 0.0]]), np.array([1.0]))
        assert mean == pytest.approx([offset + 2.0 / (1 + noise)])
        scale = np.mean([2.0**2, 2.0**2]) / (1 + noise)
        variance = scale * (1 - 1 / (1 + noise) + noise)
        assert deviation == pytest.approx([np.sqrt(variance)])

    def test_the_posterior_is_that_of_the_inverse_matrix(self):
        random = np.random.default_rng(0)
        points = random.uniform(0, 4, (30, 1))
        error = np.sin(points[:, 0]) + 0.1 * random.normal(size=30)
        across = np.exp(-((points - points.T) ** 2) / 2)
        posterior = process.Posterior.fit(5 * across, error)
        new = 5 * np.exp(-((np.array([[1.3]]) - points.T) ** 2) / 2)
        mean, deviation = posterior(new, np.array([5.0]))
        inverse = np.linalg.inv(5 * across + posterior.noise * np.eye(30))
        centred = error - error.mean()
        assert mean == pytest.approx(error.mean() + new @ inverse @ centred)
        scale = centred @ inverse @ centred / 30
        assert deviation**2 == pytest.approx(
            scale * (5 - new @ inverse @ new.T + posterior.noise).ravel()
        )
        assert mean[0] == pytest.approx(np.sin(1.3), abs=0.15)

    def test_the_score_is_the_chance_of_an_error_beyond(self, monkeypatch):
        """With all conformers alike: a normal distribution with the errors' own moments."""
        monkeypatch.setattr(process, "LENGTHS", (1.0,))
        random = np.random.default_rng(3)
        some = part([sample([1.0])] * 200, random.normal(0.4, 1.0, 200))
        score = process.Process().fit(some, some, (0.5, 1.0), 1)(some.take(np.array([0])))
        mean, deviation = some.error_kcal.mean(), some.error_kcal.std()
        expected = [norm.sf(t, mean, deviation) + norm.cdf(-t, mean, deviation) for t in (0.5, 1.0)]
        assert score[0] == pytest.approx(logit(expected), abs=0.05)

    def test_of_more_than_it_can_take_it_sees_a_sample(self, parts, monkeypatch):
        """As many conformers as may be, drawn by the seed: what it says of new ones is theirs."""
        fit, tune, new = parts
        rows = np.sort(np.random.default_rng(1).choice(80, 20, replace=False))
        expected = process.Process().fit(fit.take(rows), tune, (1.0,), 1)(new)
        monkeypatch.setattr(process, "MOST_CONFORMERS", 20)
        assert process.Process().fit(fit, tune, (1.0,), 1)(new) == pytest.approx(expected)


@pytest.fixture(scope="module")
def real(calibration, calibration_samples):
    """Fit, tune and test parts of the labels that the shipped checkpoint is fitted to."""
    data = Labelled.of(calibration, calibration_samples)
    rows = np.arange(len(data))
    errors = data.error_kcal(rows, data.shift(rows, 4))
    whole = Part(data.samples, data.smiles, errors)
    order = np.random.default_rng(0).permutation(np.unique(data.smiles))
    return [
        whole.take(np.flatnonzero(np.isin(data.smiles, order[start:stop])))
        for start, stop in ((0, 600), (600, 700), (700, None))
    ]


@pytest.mark.parametrize("name", ["pooled-logistic", "gaussian-process"])
def test_the_signal_of_real_labels_is_found(real, name):
    fit, tune, test = real
    boundary = float(np.median(np.abs(fit.error_kcal)))
    score = BY_NAME[name].fit(fit, tune, (boundary,), 1)(test)[:, 0]
    assert metrics.evaluate(expit(score), test.error_kcal, boundary)["auroc"] > 0.65

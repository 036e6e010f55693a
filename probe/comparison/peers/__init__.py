"""What PROBE is compared with: ways to tell which energies are off, behind one contract."""

from probe.comparison.peers.contract import NotApplicable, Part, Peer, Scorer
from probe.comparison.peers.distance import Mahalanobis, Nearest
from probe.comparison.peers.linear import Conformal, Rigidity, ShallowEnsemble
from probe.comparison.peers.networks import NETWORKS
from probe.comparison.peers.pooled import Boosting, Forest, PooledLogistic
from probe.comparison.peers.process import Process
from probe.comparison.peers.simple import AtomCount, ElementCount, Majority
from probe.comparison.peers.spread import Spread, SpreadRule

__all__ = ["PEERS", "NotApplicable", "Part", "Peer", "Scorer"]

PEERS: tuple[Peer, ...] = (
    Majority(),
    AtomCount(),
    ElementCount(),
    Spread("spread", 0.0),
    Spread("spread-per-root-atom", 0.5),
    Spread("spread-per-atom", 1.0),
    SpreadRule(),
    Nearest("nearest-max", "max"),
    Nearest("nearest-mean", "mean"),
    Mahalanobis("mahalanobis-max", "max"),
    Mahalanobis("mahalanobis-mean", "mean"),
    Rigidity(),
    ShallowEnsemble(),
    Conformal(),
    PooledLogistic(),
    Boosting(),
    Forest(),
    Process(),
    *NETWORKS,
)

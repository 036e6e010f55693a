"""The columns of every table of the workflow; no other module spells a schema.

Units are in the column's name where they could be mistaken: energies in eV, coordinates in Å,
charges in elementary charges.
"""

from collections.abc import Sequence

import pyarrow as pa

KCAL_PER_EV = 23.060548
"""1 eV in kcal/mol; kcal/mol appear only where a person reads an error."""

EMBEDDING_WIDTH = 256
"""Width of PROBE's molecular embedding (paper, Methods)."""

_string, _f32, _f64 = pa.string(), pa.float32(), pa.float64()

CONFORMERS = pa.schema(
    [
        ("conformer_id", _string),  # content hash of numbers, positions, charge, multiplicity
        ("molecule_id", _string),  # the library's own name of the molecule
        ("source", _string),  # file:record, joined by "; " where several records are this conformer
        ("synonyms", pa.list_(_string)),  # other names that these records give it; null if none do
        ("smiles", _string),  # canonical, of what was kept
        ("n_atoms", pa.int32()),  # N, hydrogens included
        ("charge", pa.int32()),  # total, in elementary charges
        ("multiplicity", pa.int32()),  # of the spin, 2S + 1
        ("numbers", pa.list_(pa.uint8())),  # [N]
        ("positions", pa.list_(_f64)),  # [3N] row-major, Å, rounded to 1e-4
        ("note", _string),  # what standardising did, empty if nothing
    ]
)
"""One conformer a row (results/<library>/conformers/*.parquet)."""

REJECTED = pa.schema(
    [
        ("source", _string),
        ("reason", _string),  # what is wrong with the record
        ("molecule_id", _string),
    ]
)
"""One record that could not be read or used a row."""

EMBEDDED = pa.schema(
    [
        ("conformer_id", _string),
        ("part", _string),  # file name in the cache folder of the backbone; null if refused
        ("refusal", _string),  # why the backbone cannot take it; null if it was evaluated
    ]
)
"""Where the cache holds each conformer of a shard, or why the backbone cannot take it."""

SCORES = pa.schema(
    [
        ("conformer_id", _string),
        ("energy_ev", _f64),  # the backbone's; null where it refuses
        ("p_unreliable", _f64),  # probability that the error is beyond the boundary
        ("verdict", _string),  # reliable | unreliable, at p = 0.5
        ("location_kcal", pa.list_(_f32)),  # [K] of the signed error, a network each
        ("scale_kcal", pa.list_(_f32)),  # [K]; both null where PROBE knows one boundary only
        ("latent_distance", _f64),  # of the molecular embedding to the calibration set
        ("importance", pa.list_(_f32)),  # [N], sums to one
        ("embedding", pa.list_(_f32, EMBEDDING_WIDTH)),  # PROBE's, of the conformer
        ("refusal", _string),
    ]
)
"""PROBE's answer for every conformer of a shard; null where the backbone refuses it."""

ANSWERED = pa.schema(
    [
        # null, but for molecule_id and source, where the input cannot be used
        *(field for field in CONFORMERS if field.name != "synonyms"),
        *(field for field in SCORES if field.name not in ("conformer_id", "refusal")),
        ("reason", _string),  # why there is no answer; null if there is one
    ]
)
"""What `probe.Probe.score` returns: a row for every input, in its order."""

TRIAGED = pa.schema(
    [
        ("conformer_id", _string),
        ("molecule_id", _string),
        ("source", _string),
        ("synonyms", _string),  # other names that the library gives it, joined by "; "
        ("smiles", _string),
        ("n_atoms", pa.int32()),
        ("charge", pa.int32()),
        ("multiplicity", pa.int32()),
        ("energy_ev", _f64),
        ("p_unreliable", _f64),  # at the tolerance of the triage
        ("verdict", _string),  # accept | recompute
        ("reason", _string),  # why it is on this list
        ("flags", _string),  # out-of-domain warnings that did not decide, joined by "; "
        ("latent_distance", _f64),
        ("dft_core_hours", _f64),  # estimate for its reference energy; null without a basis
        ("note", _string),
    ]
)
"""accept.parquet and recompute.parquet: every conformer is a row of exactly one of them."""

MAP = pa.schema(
    [
        ("conformer_id", _string),
        ("x", _f64),  # place on the map, without a unit
        ("y", _f64),  # likewise
    ]
)
"""map.parquet: where the report's map shows each listed conformer; null where it does not."""

SELECTED = pa.schema([*TRIAGED, *(field for field in MAP if field.name != "conformer_id")])
"""What `probe select` writes."""

MOLECULES = pa.schema(
    [
        ("molecule_id", _string),
        ("formula", _string),  # in Hill's order
        ("charge", pa.int32()),
        ("multiplicity", pa.int32()),
        ("n_conformers", pa.int32()),  # n_accept + n_recompute
        ("n_accept", pa.int32()),  # conformers to accept
        ("n_recompute", pa.int32()),  # conformers to recompute
        ("n_without_energy", pa.int32()),  # refused by the backbone
        ("n_smiles", pa.int32()),  # more than one: isomers or tautomers under one name
        ("conformer_id", _string),  # of lowest energy; null where none has one
        ("smiles", _string),
        ("energy_ev", _f64),  # of that conformer
        ("p_unreliable", _f64),  # of that conformer
        ("p_best", _f64),  # lowest of its conformers
        ("p_worst", _f64),  # highest of its conformers
        ("p_boltzmann", _f64),  # mean by Boltzmann population at 298.15 K
        ("population_recompute", _f64),  # population of its conformers to recompute
        ("verdict", _string),  # accept | recompute
        ("reason", _string),  # why it has this verdict
    ]
)
"""molecules.parquet: every conformer belongs to one of its molecules for each of its names."""

AGREEMENT = pa.schema(
    [
        ("first", _string),  # names of the two screenings
        ("second", _string),  # likewise
        ("conformer_id", _string),
        ("molecule_id", _string),
        ("smiles", _string),
        ("n_atoms", pa.int32()),
        ("charge", pa.int32()),
        ("multiplicity", pa.int32()),
        ("kind", _string),  # a key of agreement.KINDS
        ("verdict_first", _string),  # accept | recompute; null where it is not in the library
        ("verdict_second", _string),  # likewise
        ("reason_first", _string),  # of that verdict
        ("reason_second", _string),  # likewise
        ("p_unreliable_first", _f64),  # at that triage's tolerance
        ("p_unreliable_second", _f64),  # likewise
        ("energy_ev_first", _f64),  # each on its backbone's own scale
        ("energy_ev_second", _f64),  # likewise
        ("difference_kcal", _f64),  # first - second after a shift per element fitted to the pair
        ("relative_kcal_first", _f64),  # to the mean of the molecule's conformers that both have
        ("relative_kcal_second", _f64),  # likewise
    ]
)
"""Every conformer of two screenings, a row for each pair of screenings."""

CHANGES = pa.schema(
    [
        ("conformer_id", _string),
        ("molecule_id", _string),
        ("source", _string),
        ("smiles", _string),
        ("n_atoms", pa.int32()),
        ("charge", pa.int32()),
        ("multiplicity", pa.int32()),
        ("kind", _string),  # a key of changes.KINDS
        ("cause", _string),  # a key of changes.CAUSES
        ("verdict_before", _string),  # accept | recompute; null where it is new
        ("verdict_now", _string),  # null where it is gone
        ("reason_before", _string),  # of that verdict
        ("reason_now", _string),  # likewise
        ("p_unreliable_before", _f64),  # at the tolerance of that triage
        ("p_unreliable_now", _f64),  # likewise
        ("energy_ev_before", _f64),  # the backbone's; null where there is none
        ("energy_ev_now", _f64),  # likewise
    ]
)
"""changes.parquet: what is new, gone or judged differently since the last screening."""

LABELS = pa.schema(
    [
        ("smiles", _string),
        ("source", _string),  # the set that the molecule is from
        ("geometry", _string),  # how the geometry was made
        ("numbers", pa.list_(pa.uint8())),
        ("positions", pa.list_(_f64)),
        ("charge", pa.int8()),
        ("energy_ev", _f64),  # the reference energy
    ]
)
"""Reference energies (resources/calibration); further columns are kept as they are."""

_BY_DFT = (
    ("e_scf_hartree", _f64),  # energy of the SCF alone
    ("e_d3_hartree", _f64),  # dispersion
    ("e_srb_hartree", _f64),  # short-range bond term
    ("gap_ev", _f64),  # between the highest filled and the lowest empty orbital
    ("nao", pa.int32()),  # atomic orbitals of the basis
    ("dft_seconds", _f32),  # processor time
    ("converged", pa.bool_()),  # where it is not, every energy is null
    ("remedy", _string),  # what made the SCF converge; empty if nothing was needed
)

REFERENCES = pa.schema([("conformer_id", _string), *LABELS, *_BY_DFT])
"""What `probe label` writes: labels with the parts of their energies."""

TO_COMPUTE = pa.schema(
    [
        *(field for field in CONFORMERS if field.name not in ("n_atoms", "note", "synonyms")),
        ("p_unreliable", _f64),  # at the tolerance of the triage
        ("core_hours", _f64),  # estimate; null where the method has no basis
        ("shard", pa.int32()),  # from 0; null beyond the budget
    ]
)
"""dft/plan.parquet: the recompute list, worst first, and which shard does what."""

COMPUTED = pa.schema(
    [
        ("conformer_id", _string),
        ("method", _string),  # level of theory
        ("engine", _string),  # the program
        ("dft_energy_ev", _f64),  # not energy_ev: what is recomputed is no label by itself
        *_BY_DFT,
        ("reason", _string),  # why there is no energy; null if there is one
    ]
)
"""What recomputing gave for a conformer (results/<library>/dft/*.parquet)."""

FAILED = pa.schema(
    [
        ("conformer_id", _string),
        ("molecule_id", _string),
        ("source", _string),
        ("reason", _string),  # why it has no energy
    ]
)
"""dft_failed.parquet: what was tried and has no energy."""

ENERGIES = pa.schema(
    [
        ("conformer_id", _string),
        ("molecule_id", _string),
        ("smiles", _string),
        ("charge", pa.int32()),
        ("multiplicity", pa.int32()),
        ("verdict", _string),  # accept | recompute, of the triage
        ("source", _string),  # mlip | dft; null where nobody has an energy
        ("method", _string),  # the backbone's name, or that of the level of theory
        ("energy_ev", _f64),  # as its source gives it
        ("energy_shifted_ev", _f64),  # on the backbone's scale; null where no shift is known
        ("p_unreliable", _f64),  # null for dft
        ("relative_kcal", _f64),  # to the molecule's lowest, all of them of one source
        ("relative_scale", _string),  # mlip | dft; null where no source has them all
        ("reason", _string),  # why a conformer to recompute was not; null where it was
    ]
)
"""energies.parquet: the final energy of every conformer."""

AUDITED = pa.schema(
    [
        ("conformer_id", _string),
        ("molecule_id", _string),
        ("smiles", _string),
        ("energy_ev", _f64),  # the backbone's
        ("dft_energy_ev", _f64),  # null where it failed
        ("error_kcal", _f64),  # signed: dft, shifted to the backbone's scale - backbone
        ("p_unreliable", _f64),  # at the tolerance of the triage
        ("reason", _string),  # why there is no dft energy; null if there is one
    ]
)
"""audit.parquet: accepted conformers that were drawn and recomputed."""

MANIFEST = pa.schema(
    [
        ("conformer_id", _string),
        ("program", _string),  # that the deck is for
        ("method", _string),  # level of theory
        ("charge", pa.int32()),
        ("multiplicity", pa.int32()),
        ("numbers", pa.list_(pa.uint8())),
        ("geometry_sha256", _string),  # of atomic numbers and coordinates in 1e-4 Å
        ("archive", _string),  # file that holds the deck
        ("deck", _string),  # file name in it
    ]
)
"""What the input decks of an export are of."""

HELD_OUT = pa.schema(
    [
        ("conformer_id", _string),
        ("smiles", _string),
        ("n_atoms", pa.int32()),
        ("numbers", pa.list_(pa.uint8())),
        ("latent_distance", _f64),
        ("error_kcal", _f64),  # signed, as in PREDICTIONS
        ("p_unreliable", _f64),  # at the boundary of the checkpoint
        ("location_kcal", pa.list_(_f32)),
        ("scale_kcal", pa.list_(_f32)),
    ]
)
"""What a checkpoint says of the conformers that none of its fitting saw."""

PREDICTIONS = pa.schema(
    [
        ("conformer_id", _string),
        ("smiles", _string),
        ("error_kcal", _f64),  # signed: reference (shifted to the backbone's scale) - backbone
        ("p_unreliable", _f64),
        ("unreliable", pa.bool_()),  # whether the error is beyond the boundary
    ]
)
"""predictions.parquet of an evaluation."""

COMPARED = pa.schema(
    [
        ("split", _string),  # how test molecules were chosen
        ("seed", pa.int32()),  # of the split
        ("size", pa.int32()),  # labels of a learning curve; null where all are used
        ("n_fit", pa.int32()),  # conformers fitted to
        ("peer", _string),  # which method speaks
        ("tolerance_kcal", _f64),  # error beyond which an energy is unreliable
        ("boundary", pa.bool_()),  # whether the tolerance is the fit part's median |error|
        ("conformer_id", _string),
        ("smiles", _string),
        ("error_kcal", _f64),
        ("score", _f64),  # the peer's own, larger is less reliable
        ("p_unreliable", _f64),  # after the calibration that is the same for all
    ]
)
"""predictions.parquet of a comparison: what each peer says of each tested conformer."""


def embeddings(terms: Sequence[str]) -> pa.Schema:
    """Schema of a cache part for a backbone that reports the energy ``terms`` (all eV).

    ``charges`` is raw little-endian float32 [N], empty where the backbone has none;
    ``embedding`` is raw little-endian float16 [N, D], row-major.
    """
    return pa.schema(
        [
            ("conformer_id", _string),
            ("n_atoms", pa.int32()),
            ("energy_ev", _f64),
            ("energy_terms_ev", pa.struct([(term, _f64) for term in terms])),  # its parts
            ("charges", pa.binary()),  # raw float32 [N], or empty
            ("embedding", pa.binary()),  # raw float16 [N, D]
        ]
    )

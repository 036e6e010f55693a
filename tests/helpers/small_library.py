"""Records of a small library as they come: salts, damage, a hostile name, unknown elements."""

HOSTILE = "<img src=x onerror=alert(1)>"
RECORDS = f"""\
CCO ethanol
c1ccccc1 benzene
CC(=O)[O-].[Na+] sodium acetate
Ic1ccccc1 iodobenzene
C[Se]C dimethyl selenide
C[CH2] ethyl radical
C(C broken
CC(=O)Nc1ccc(O)cc1 {HOSTILE}
C[As](C)C trimethylarsine
CC(C)Cc1ccc(cc1)C(C)C(=O)O ibuprofen
[Fe] iron
CCO ethanol again
""".splitlines(keepends=True)
